"""Statements: a partner's period, line by line, computed when read."""
