"""Partners: who sells for the enterprise, and under whom."""
