"""Reactions to other services' events, one file per family."""
