"""Qudao's order service."""
