"""Stock rows and the movements that make them."""
