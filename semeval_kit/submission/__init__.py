"""What goes up and what comes back."""
