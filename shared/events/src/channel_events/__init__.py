"""The wire contract between Qudao's services."""
