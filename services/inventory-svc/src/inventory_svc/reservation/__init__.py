"""Reservations: stock that other systems hold for a time."""
