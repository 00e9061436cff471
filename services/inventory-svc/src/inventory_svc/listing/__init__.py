"""Listings: what a platform's SKU means to us."""
