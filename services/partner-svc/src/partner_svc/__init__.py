"""Qudao's partner service."""
