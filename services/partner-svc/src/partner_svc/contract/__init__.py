"""Contracts: versions, immutable once approved, that name plans and the zone their periods are cut in."""
