"""Which tokens push which label."""
