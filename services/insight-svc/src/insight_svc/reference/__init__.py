"""Copies of names and signing keys that other services announce."""
