"""Qudao's inventory service."""
