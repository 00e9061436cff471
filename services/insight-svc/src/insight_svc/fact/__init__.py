"""What happened, copied from the announcements, and its sums per day."""
