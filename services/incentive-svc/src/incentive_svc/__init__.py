"""Qudao's incentive service: plans, accruals and statements."""
