"""Holds: what each order line was promised, got, lacks or lost."""
