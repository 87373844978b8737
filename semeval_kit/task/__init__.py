"""The task file: what the organisers fix, as data."""
