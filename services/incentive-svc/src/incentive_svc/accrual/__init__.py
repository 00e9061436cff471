"""Accruals: cells, and what each batch of entries adds to their rebate."""
