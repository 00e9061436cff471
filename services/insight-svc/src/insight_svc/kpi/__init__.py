"""Key figures, computed from the facts when they are read."""
