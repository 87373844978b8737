"""What each field of a recipe means: for the recipe's own schema and for the flags."""

from __future__ import annotations

HELP = {
    "encoder": "hub id, local folder, or 'embedded'",
    "revision": "commit of the hub model; empty: its main branch",
    "pooling": "mean of tokens, or CLS head",
    "folds": "number of cross-validation folds",
    "holdout": "share held out instead of folds; 0: folds",
    "holdout_split": "hold out this split instead",
    "epochs": "passes over the training rows, at most",
    "batch_size": "examples per optimizer step and process",
    "accumulation": "batches per optimizer step",
    "eval_batch_size": "examples per forward pass outside training",
    "max_length": "tokens per text; longer texts are cut",
    "lr": "peak learning rate of the encoder; 0: by its width",
    "head_lr": "peak learning rate of the head",
    "weight_decay": "AdamW decay, not of biases and norms",
    "warmup": "share of steps below 1, else number of steps",
    "max_grad_norm": "gradient norm is cut to this; 0: never",
    "hidden_dropout": "-1: as the encoder has it",
    "attention_dropout": "-1: as the encoder has it",
    "head_dropout": "before the last linear layer",
    "freeze_embeddings": "keep the embedding tables as they are",
    "freeze_layers": "lowest layers (with embeddings) kept as they are; -1: all but the last one",
    "positive_weight": "loss weight of positives per label: (negatives / positives) ^ 0, .5, 1",
    "select_by": "the epoch kept; score: the task's metric",
    "patience": "epochs without gain before stopping; 0: never",
    "stop_by": "what patience watches",
    "precision": "auto: bf16 where the device is fast at it, else fp32",
    "seed": "of folds, head, dropout and order",
}
