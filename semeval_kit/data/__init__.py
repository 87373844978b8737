"""The organisers' rows."""
