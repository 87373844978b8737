"""What makes probabilities: folds, encoder and head, batches, the Accelerate loop, checkpoints."""
