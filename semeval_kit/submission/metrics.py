"""Metrics: the official arithmetic, written out so that it agrees to the last digit.

The formulas are those of the organisers' scoring programs of 2026 (Track A, B, C): precision and
recall first, then 2pr / (p + r), each 0 where it is undefined. No scikit-learn: with one label it
averages class 0 in as well, and its defaults change.
"""

from __future__ import annotations

import math
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
    return _mean([counts.f1 for counts in count_labels(gold, preds)])


def micro_f1(gold: Matrix, preds: Matrix) -> float:
    """F1 of the counts pooled over labels."""
    return pool_counts(count_labels(gold, preds)).f1


def jaccard(gold: Matrix, preds: Matrix) -> float:
    """Mean over examples of |gold and preds| / |gold or preds|, 1 where both are empty.

    "Accuracy" of SemEval-2018 Task 1 E-c.
    """
    is_gold, is_pred = np.asarray(gold) > 0, np.asarray(preds) > 0
    both, either = (is_gold & is_pred).sum(axis=1), (is_gold | is_pred).sum(axis=1)
    return float(np.where(either == 0, 1.0, both / np.maximum(either, 1)).mean())


def accuracy(gold: Matrix, preds: Matrix) -> float:
    """Share of examples whose whole row is right."""
    return float((np.asarray(gold) == np.asarray(preds)).all(axis=1).mean())


def weighted_precision(gold: Matrix, preds: Matrix) -> float:
    """Mean of precision over labels, weighted by gold positives."""
    return _weighted(gold, preds, lambda counts: counts.precision)


def weighted_recall(gold: Matrix, preds: Matrix) -> float:
    """Mean of recall over labels, weighted by gold positives."""
    return _weighted(gold, preds, lambda counts: counts.recall)


def weighted_f1(gold: Matrix, preds: Matrix) -> float:
    """Mean of F1 over labels, weighted by gold positives."""
    return _weighted(gold, preds, lambda counts: counts.f1)


def macro_auc(gold: Matrix, probs: Matrix) -> float:
    """Mean over labels of one-vs-rest area under the ROC curve; ties count half.

    `probs` is (n_examples, n_labels). A label without both classes is left out; NaN if all are.
    """
    areas = []
    for column in range(np.asarray(gold).shape[1]):
        positive = np.asarray(gold)[:, column] > 0
        n_positive, n_negative = int(positive.sum()), int((~positive).sum())
        if n_positive and n_negative:
            ranks = _average_ranks(np.asarray(probs)[:, column])
            wins = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
            areas.append(float(wins / (n_positive * n_negative)))
    return _mean(areas) if areas else math.nan


def pearson(gold: Sequence[int], preds: Sequence[int]) -> float:
    """Pearson r as the 2026 Track B program computes it: a constant column gives 0, or 1 if equal.

    Plain sums in row order, clipped to [-1, 1].
    """
    if not gold:
        return 0.0
    gold_mean, pred_mean = sum(gold) / len(gold), sum(preds) / len(preds)
    shared = sum((g - gold_mean) * (p - pred_mean) for g, p in zip(gold, preds, strict=True))
    gold_ss = sum((g - gold_mean) ** 2 for g in gold)
    pred_ss = sum((p - pred_mean) ** 2 for p in preds)
    scale = math.sqrt(gold_ss * pred_ss)
    if scale == 0.0:
        return 1.0 if list(gold) == list(preds) else 0.0
    return max(-1.0, min(1.0, shared / scale))


def pearson_by_label(gold: Matrix, preds: Matrix) -> list[float]:
    """`pearson` of each label column; both are (n_examples, n_labels) without NaN."""
    columns = zip(np.asarray(gold).T.tolist(), np.asarray(preds).T.tolist(), strict=True)
    return [pearson(gold_column, pred_column) for gold_column, pred_column in columns]


def pearson_r(gold: Matrix, preds: Matrix) -> float:
    """Mean over labels of `pearson`: the score of Track B."""
    return _mean(pearson_by_label(gold, preds))


METRICS: dict[str, Callable[[Matrix, Matrix], float]] = {
    "macro_f1": macro_f1,
    "micro_f1": micro_f1,
    "jaccard": jaccard,
    "accuracy": accuracy,
    "weighted_precision": weighted_precision,
    "weighted_recall": weighted_recall,
    "weighted_f1": weighted_f1,
    "pearson_r": pearson_r,
}
"""Metrics of integer predictions: (gold, preds), both (n_examples, n_labels), to a number."""


def _weighted(gold: Matrix, preds: Matrix, value: Callable[[Counts], float]) -> float:
    counts = count_labels(gold, preds)
    total = sum(c.support for c in counts)
    return sum(value(c) * c.support for c in counts) / total if total else 0.0


def _average_ranks(values: Matrix) -> NDArray[np.float64]:
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return np.asarray((last - (sizes - 1) / 2)[inverse.reshape(-1)], dtype=np.float64)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
