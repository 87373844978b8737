"""What the organisers fix: tasks, data, labels, metrics, submission files and the scorer. No torch."""
