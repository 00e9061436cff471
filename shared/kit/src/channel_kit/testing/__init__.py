"""Failpoints and the pytest plugin."""
