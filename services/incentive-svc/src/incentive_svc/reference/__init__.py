"""Reference: copies of approved contracts."""
