"""Signing keys: made, sealed, rotated and announced here; every service verifies with its copy."""
