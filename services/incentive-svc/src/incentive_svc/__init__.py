"""Qudao's incentive service."""
