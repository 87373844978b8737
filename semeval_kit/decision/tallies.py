"""Metrics as sums over rows, so that bootstraps and shuffles are matrix products.

Every metric here is a function of sums of per-row tallies `(n, U, K)`: U is the number of labels
(or 1), K the number of things counted. A resample of rows only reweighs the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.rules import FloatArray
from semeval_kit.errors import KitError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Metric:
    """A metric by its two halves.

    Attributes:
        name: as the task files spell it.
        tally: gold `(n, L)` with NaN for not annotated, preds `(n, L)` -> tallies `(n, U, K)`; the
            last of the K counts annotated cells.
        combine: sums `(..., U, K)` and the units that count `(U,)` -> scores `(...)`.
    """

    name: str
    tally: Callable[[FloatArray, NDArray[np.generic], Mask], FloatArray]
    combine: Callable[[FloatArray, Mask], FloatArray]

    def score(self, sums: FloatArray, scored: Mask) -> FloatArray:
        """Scores `(...)` of sums `(..., U, K)`; `scored` `(L,)` says which labels count."""
        units = scored if sums.shape[-2] == len(scored) else np.ones(1, dtype=bool)
        return self.combine(sums, units)


def find_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        KitError: the name is unknown.
    """
    if name not in _METRICS:
        raise KitError(f"metric '{name}' is unknown here. Choose one of {', '.join(_METRICS)}.")
    return _METRICS[name]


def score_labels(metric: Metric, sums: FloatArray) -> FloatArray:
    """F1 or Pearson's r of every label `(..., L)` from sums `(..., L, K)`."""
    return _correlate(sums) if metric.name == "pearson" else _divide_f1(sums)


def _tally_cells(gold: FloatArray, preds: NDArray[np.generic], scored: Mask) -> FloatArray:
    """True positives, false positives, false negatives, annotated: `(n, L, 4)`."""
    known = ~np.isnan(gold)
    truth, called = known & (gold > 0), known & (preds.astype(np.float64) > 0)
    parts = [truth & called, ~truth & called, truth & ~called, known]
    return np.stack(parts, axis=-1).astype(np.float64)


def _tally_moments(gold: FloatArray, preds: NDArray[np.generic], scored: Mask) -> FloatArray:
    """Sums for Pearson's r `(n, L, 6)`: x, y, x^2, y^2, x y, annotated."""
    known = ~np.isnan(gold)
    x, y = np.where(known, preds.astype(np.float64), 0.0), np.where(known, gold, 0.0)
    return np.stack([x, y, x * x, y * y, x * y, known.astype(np.float64)], axis=-1)


def _tally_exact(gold: FloatArray, preds: NDArray[np.generic], scored: Mask) -> FloatArray:
    """Rows with every annotated label right `(n, 1, 2)`."""
    known = ~np.isnan(gold) & scored
    right = ((gold == preds.astype(np.float64)) | ~known).all(axis=1)
    return np.stack([right & known.any(axis=1), known.any(axis=1)], axis=-1)[:, None].astype(float)


def _tally_overlap(gold: FloatArray, preds: NDArray[np.generic], scored: Mask) -> FloatArray:
    """Intersection over union of each row, 1 where both are empty `(n, 1, 2)`."""
    known = ~np.isnan(gold) & scored
    truth, called = known & (gold > 0), known & (preds.astype(np.float64) > 0)
    union = (truth | called).sum(axis=1)
    shared = (truth & called).sum(axis=1)
    overlap = np.where(union > 0, shared / np.maximum(union, 1), 1.0)
    counted = known.any(axis=1)
    return np.stack([overlap * counted, counted.astype(np.float64)], axis=-1)[:, None]


def _divide_f1(sums: FloatArray) -> FloatArray:
    """2 TP / (2 TP + FP + FN), 0 where there is nothing to find and nothing called."""
    hits = 2.0 * sums[..., 0]
    total = hits + sums[..., 1] + sums[..., 2]
    return np.where(total > 0, hits / np.maximum(total, 1e-300), 0.0)


def _correlate(sums: FloatArray) -> FloatArray:
    """Pearson's r as the 2026 scorer counts it: constant gives 0, or 1 if both are the same."""
    x, y, xx, yy, xy, n = np.moveaxis(sums, -1, 0)
    var_x, var_y = n * xx - x * x, n * yy - y * y
    spread = var_x * var_y
    r = (n * xy - x * y) / np.sqrt(np.maximum(spread, 1e-300))
    same = (xx - 2 * xy + yy == 0) & (n > 0)
    return np.where(spread > 0, np.clip(r, -1.0, 1.0), np.where(same, 1.0, 0.0))


def _mean_labels(values: FloatArray, scored: Mask) -> FloatArray:
    if not scored.any():
        return np.zeros(values.shape[:-1])
    return np.asarray(values[..., scored].mean(axis=-1), dtype=np.float64)


def _combine_weighted(sums: FloatArray, scored: Mask) -> FloatArray:
    kept = sums[..., scored, :]
    support = kept[..., 0] + kept[..., 2]
    total = np.maximum(support.sum(axis=-1), 1e-300)
    return np.asarray((_divide_f1(kept) * support).sum(axis=-1) / total)


def _combine_rate(sums: FloatArray, scored: Mask) -> FloatArray:
    return np.asarray(sums[..., 0, 0] / np.maximum(sums[..., 0, 1], 1.0))


_METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "macro_f1", _tally_cells, lambda sums, scored: _mean_labels(_divide_f1(sums), scored)
        ),
        Metric(
            "micro_f1", _tally_cells, lambda sums, scored: _divide_f1(sums[..., scored, :].sum(-2))
        ),
        Metric("weighted_f1", _tally_cells, _combine_weighted),
        Metric(
            "pearson", _tally_moments, lambda sums, scored: _mean_labels(_correlate(sums), scored)
        ),
        Metric("accuracy", _tally_exact, _combine_rate),
        Metric("jaccard", _tally_overlap, _combine_rate),
    )
}
