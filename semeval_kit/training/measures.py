"""What a validation set says of one epoch: loss and plain scores at threshold 0.5."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]


class TargetLoss:
    """The training loss over annotated cells.

    Binary cross-entropy for independent targets, cross-entropy for exclusive ones; cells that
    are NaN count nothing. Positives may weigh more, by the training rows of the fold alone.
    """

    def __init__(self, targets: Array, exclusive: bool, positive_weight: str) -> None:
        """Derive the weights from the training targets `(n_examples, n_targets)`."""
        self.exclusive = exclusive
        power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[positive_weight]
        positives = np.nansum(targets, axis=0)
        negatives = np.sum(~np.isnan(targets), axis=0) - positives
        ratio = np.divide(negatives, positives, out=np.ones_like(positives), where=positives > 0)
        self.weight = torch.tensor(np.maximum(ratio, 1e-6) ** power, dtype=torch.float32)

    def count(self, targets: Tensor) -> int:
        """Number of terms that a batch adds to the loss."""
        cells = ~torch.isnan(targets)
        return int(cells.all(dim=1).sum() if self.exclusive else cells.sum())

    def sum(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum of the terms of a batch: logits and targets `(n_texts, n_targets)`, in nats."""
        cells = ~torch.isnan(targets)
        weight = self.weight.to(logits.device)
        if self.exclusive:
            rows = cells.all(dim=1)
            logs = nn.functional.log_softmax(logits[rows].float(), dim=-1)
            return -(targets[rows] * logs * weight).sum()
        return nn.functional.binary_cross_entropy_with_logits(
            logits.float()[cells],
            targets[cells],
            pos_weight=weight.expand_as(targets)[cells],
            reduction="sum",
        )


def to_probs(logits: Array, exclusive: bool) -> Array:
    """Turn logits `(n_examples, n_targets)` into probabilities, in double precision."""
    if exclusive:
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax: Array = shifted / shifted.sum(axis=1, keepdims=True)
        return softmax
    with np.errstate(over="ignore"):  # beyond exp's range the probability is 0, as it should be
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def measure(probs: Array, targets: Array, exclusive: bool, n_levels: int = 1) -> dict[str, float]:
    """Score probabilities at 0.5 (or by the highest, where targets exclude each other).

    Args:
        probs: `(n_examples, n_targets)`.
        targets: `(n_examples, n_targets)`, NaN where not annotated.
        exclusive: exactly one target is true in each row.
        n_levels: events per label, where the targets are the cumulative events of intensities.

    Returns:
        macro_f1, micro_f1, weighted_f1 (F1 by support) and subset_accuracy (rows all right); for
        intensities also pearson_r, the mean over labels of r between level and expected level.
    """
    known = ~np.isnan(targets)
    gold = np.nan_to_num(targets) > 0.5
    chosen = probs >= 0.5
    if exclusive:
        chosen = np.eye(probs.shape[1], dtype=bool)[probs.argmax(axis=1)]
    chosen = chosen & known
    true_positives = (chosen & gold).sum(axis=0).astype(float)
    marked = chosen.sum(axis=0) + gold.sum(axis=0)
    f1 = np.divide(2 * true_positives, marked, out=np.zeros_like(true_positives), where=marked > 0)
    used = known.any(axis=0)
    support = gold.sum(axis=0)
    scores = {
        "macro_f1": float(f1[used].mean()) if used.any() else 0.0,
        "micro_f1": float(2 * true_positives.sum() / max(marked.sum(), 1)),
        "weighted_f1": float((f1 * support).sum() / max(support.sum(), 1)),
        "subset_accuracy": float((chosen == gold).all(axis=1).mean()),
    }
    if n_levels > 1:
        scores["pearson_r"] = _mean_correlation(probs, targets, n_levels)
    return scores


def _mean_correlation(probs: Array, targets: Array, n_levels: int) -> float:
    """Mean over labels of r between gold levels and expected levels; constant columns give 0."""
    found = []
    for first in range(0, probs.shape[1], n_levels):
        gold = targets[:, first : first + n_levels].sum(axis=1)
        expected = probs[:, first : first + n_levels].sum(axis=1)
        known = ~np.isnan(gold)
        if known.sum() > 1:
            varied = np.ptp(gold[known]) > 0 and np.ptp(expected[known]) > 0
            found.append(np.corrcoef(gold[known], expected[known])[0, 1] if varied else 0.0)
    return float(np.mean(found)) if found else 0.0
