"""Mechanics shared by Qudao's services, with no domain meaning."""
