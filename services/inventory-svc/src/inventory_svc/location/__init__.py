"""Locations, and which of them serves a shop."""
