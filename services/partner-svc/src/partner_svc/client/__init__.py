"""Clients: credentials of programs, exchanged for short-lived access tokens."""
