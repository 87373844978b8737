"""What turns probabilities into answers: thresholds, ensembles, honest estimates. numpy only."""
