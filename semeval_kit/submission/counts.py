"""Counts of right and wrong labels, and the scores that are made from them alone.

The formulas are those of the organisers' scoring programs of 2026 (Track A, B, C): precision and
recall first, then 2pr / (p + r), each 0 where it is undefined. No scikit-learn: with one label it
averages class 0 in as well, and its defaults change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives of a label."""

    tp: int
    fp: int
    fn: int

    @property
    def support(self) -> int:
        """Gold positives."""
        return self.tp + self.fn

    @property
    def precision(self) -> float:
        """Precision: tp / (tp + fp), 0 where nothing was predicted."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        """Recall: tp / (tp + fn), 0 where there is nothing to find."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0

    @property
    def f1(self) -> float:
        """F1 in the official form, 2pr / (p + r), 0 where p and r are 0."""
        precision, recall = self.precision, self.recall
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    @property
    def f1_of_counts(self) -> float:
        """F1 as scikit-learn and so the 2025 checker computes it: 2tp / (2tp + fp + fn)."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else 0.0


def count_labels(gold: Matrix, preds: Matrix) -> list[Counts]:
    """Counts per label; both are (n_examples, n_labels), positive above 0, NaN gold left out."""
    gold, preds = np.asarray(gold, dtype=np.float64), np.asarray(preds)
    known = ~np.isnan(gold)
    is_gold, is_pred = (gold > 0) & known, (preds > 0) & known
    tp = (is_gold & is_pred).sum(axis=0)
    fp = (~is_gold & is_pred).sum(axis=0)
    fn = (is_gold & ~is_pred).sum(axis=0)
    return [Counts(int(a), int(b), int(c)) for a, b, c in zip(tp, fp, fn, strict=True)]


def pool_counts(counts: Sequence[Counts]) -> Counts:
    """Sum of counts over labels."""
    return Counts(*(sum(getattr(c, name) for c in counts) for name in ("tp", "fp", "fn")))


def macro_f1(gold: Matrix, preds: Matrix) -> float:
    """Mean over labels of F1; a label that nobody has and nobody predicts counts 0."""
    return mean_of([counts.f1 for counts in count_labels(gold, preds)])


def micro_f1(gold: Matrix, preds: Matrix) -> float:
    """F1 of the counts pooled over labels."""
    return pool_counts(count_labels(gold, preds)).f1


def weighted_precision(gold: Matrix, preds: Matrix) -> float:
    """Mean of precision over labels, weighted by gold positives."""
    return _weighted(gold, preds, lambda counts: counts.precision)


def weighted_recall(gold: Matrix, preds: Matrix) -> float:
    """Mean of recall over labels, weighted by gold positives."""
    return _weighted(gold, preds, lambda counts: counts.recall)


def weighted_f1(gold: Matrix, preds: Matrix) -> float:
    """Mean of F1 over labels, weighted by gold positives."""
    return _weighted(gold, preds, lambda counts: counts.f1)


def mean_of(values: Sequence[float]) -> float:
    """The plain mean, added in order; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def _weighted(gold: Matrix, preds: Matrix, value: Callable[[Counts], float]) -> float:
    counts = count_labels(gold, preds)
    total = sum(c.support for c in counts)
    return sum(value(c) * c.support for c in counts) / total if total else 0.0
