"""Metrics as sums over rows, so that bootstraps and shuffles are matrix products.

Every metric here is a function of sums of per-row tallies `(n, U, K)`: U is the number of labels
(or 1), K the number of things counted. A resample of rows only reweighs the rows. Scores of whole
sets of rows come from `submission.metrics`; the sums agree with it (tested).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.oof import FloatArray, Mask
from semeval_kit.errors import KitError
from semeval_kit.submission import metrics as official


@dataclass(frozen=True)
class Metric:
    """A metric by its two halves.

    Attributes:
        name: as `submission.metrics` spells it.
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


def score_rows(name: str, gold: FloatArray, preds: NDArray[np.generic], scored: Mask) -> float:
    """One score by the official arithmetic of `submission.metrics`; shapes as for `Metric`.

    Args:
        name: of the metric.
        gold: `(n, L)`, NaN for not annotated.
        preds: `(n, L)`.
        scored: `(L,)`, which labels count.

    Raises:
        KitError: the name is unknown.
    """
    find_metric(name)
    truth, answers = gold[:, scored], preds[:, scored]
    if not truth.size:
        return 0.0
    known = ~np.isnan(truth)
    if name == "pearson_r":
        return float(np.mean(list(score_labels(name, truth, answers))))
    if not known.all():
        # A cell that nobody judged is neither right nor wrong.
        rows = known.any(axis=1)
        truth, answers = np.where(known, truth, 0.0)[rows], np.where(known, answers, 0)[rows]
    return float(official.METRICS[name](truth, answers))


def score_labels(name: str, gold: FloatArray, preds: NDArray[np.generic]) -> list[float]:
    """F1 of every label `(L,)`, or Pearson's r for "pearson_r", by the official arithmetic."""
    if name != "pearson_r":
        return [counts.f1 for counts in official.count_labels(gold, preds)]
    known = ~np.isnan(gold)
    columns = zip(gold.T, preds.T, known.T, strict=True)
    return [
        official.pearson(truth[own].astype(int).tolist(), answers[own].tolist())
        for truth, answers, own in columns
    ]


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


def _divide(part: FloatArray, whole: FloatArray) -> FloatArray:
    """The share, 0 where there is nothing to share."""
    return np.where(whole > 0, part / np.maximum(whole, 1e-300), 0.0)


def _find_precision(sums: FloatArray) -> FloatArray:
    return _divide(sums[..., 0], sums[..., 0] + sums[..., 1])


def _find_recall(sums: FloatArray) -> FloatArray:
    return _divide(sums[..., 0], sums[..., 0] + sums[..., 2])


def _find_f1(sums: FloatArray) -> FloatArray:
    """2pr / (p + r), the form of the official programs."""
    precision, recall = _find_precision(sums), _find_recall(sums)
    return _divide(2 * precision * recall, precision + recall)


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


def _weigh_labels(values: FloatArray, sums: FloatArray, scored: Mask) -> FloatArray:
    support = (sums[..., 0] + sums[..., 2])[..., scored]
    return _divide((values[..., scored] * support).sum(axis=-1), support.sum(axis=-1))


def _combine_rate(sums: FloatArray, scored: Mask) -> FloatArray:
    return _divide(sums[..., 0, 0], sums[..., 0, 1])


def _macro(find: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray, Mask], FloatArray]:
    return lambda sums, scored: _mean_labels(find(sums), scored)


def _weighted(find: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray, Mask], FloatArray]:
    return lambda sums, scored: _weigh_labels(find(sums), sums, scored)


def _micro(sums: FloatArray, scored: Mask) -> FloatArray:
    return _find_f1(sums[..., scored, :].sum(axis=-2))


_METRICS = {
    metric.name: metric
    for metric in (
        Metric("macro_f1", _tally_cells, _macro(_find_f1)),
        Metric("micro_f1", _tally_cells, _micro),
        Metric("weighted_precision", _tally_cells, _weighted(_find_precision)),
        Metric("weighted_recall", _tally_cells, _weighted(_find_recall)),
        Metric("weighted_f1", _tally_cells, _weighted(_find_f1)),
        Metric("pearson_r", _tally_moments, _macro(_correlate)),
        Metric("accuracy", _tally_exact, _combine_rate),
        Metric("jaccard", _tally_overlap, _combine_rate),
    )
}
