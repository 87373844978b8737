"""The run directory and its stages."""
