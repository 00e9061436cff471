"""Shops: for which partner and on which channel an account on a platform sells, and when."""
