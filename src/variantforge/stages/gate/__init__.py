"""Measurements -> verdicts: what ships, what does not, and what nobody can know yet."""
