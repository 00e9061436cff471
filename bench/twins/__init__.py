"""The plain ways: what the same rows cost without Qudao's code, and what PostgreSQL alone can do."""
