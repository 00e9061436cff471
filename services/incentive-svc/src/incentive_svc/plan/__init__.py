"""Plans: versions of tiers and terms, and what they pay."""
