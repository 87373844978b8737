"""What the organisers fix: tasks, data, labels, metrics, submissions and scores. No torch."""
