"""One day of a small tea brand's channel traffic: who sells what, what they send, and whether it all arrived."""
