"""Qudao's insight service."""
