"""Metrics as sums over rows, so that bootstraps and shuffles are matrix products.

Every metric here is a function of sums of per-row tallies `(n, U, K)`: U is the number of labels
(or 1), K the number of things counted. A resample of rows only reweighs the rows. Scores of whole
sets of rows come from `submission.metrics`; the sums agree with it (tested), but for Spearman's
rho: there a resample keeps the ranks of the whole set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.oof import FloatArray, Mask
from semeval_kit.errors import KitError
from semeval_kit.submission import metrics as official
from semeval_kit.submission.counts import count_labels
from semeval_kit.submission.metrics import NOTHING, Beside

Preds = NDArray[np.generic]
CELL_METRICS = ("macro_f1", "micro_f1", "weighted_precision", "weighted_recall", "weighted_f1")
"""Metrics of counts per label, so that each cell can count for a weight of its own."""


@dataclass(frozen=True)
class Metric:
    """A metric by its two halves.

    Attributes:
        name: as `submission.metrics` spells it.
        tally: gold `(n, L)` with NaN for not annotated, preds `(n, L)`, what stands beside them ->
            tallies `(n, U, K)`; the last of the K counts annotated cells. Gold of labels may be
            probabilities: the tallies are then the expected ones.
        combine: sums `(..., U, K)` and the units that count `(U,)` -> scores `(...)`.
    """

    name: str
    tally: Callable[[FloatArray, Preds, Beside], FloatArray]
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


def score_rows(
    name: str, gold: FloatArray, preds: Preds, scored: Mask, beside: Beside = NOTHING
) -> float:
    """One score by the official arithmetic of `submission.metrics`; shapes as for `Metric`.

    Args:
        name: of the metric.
        gold: `(n, L)`, NaN for not annotated.
        preds: `(n, L)`.
        scored: `(L,)`, which labels count; metrics of whole rows pass over it.
        beside: what the metric needs of each row.

    Raises:
        KitError: the name is unknown.
    """
    find_metric(name)
    if not scored.any() or not len(gold):
        return 0.0
    return float(official.find(name)(gold, preds, scored, beside))


def score_labels(name: str, gold: FloatArray, preds: Preds) -> list[float]:
    """The metric of every label `(L,)` alone, by the official arithmetic; F1 for classes."""
    if name not in _BY_COLUMN:
        return [counts.f1 for counts in count_labels(gold, preds)]
    columns = range(gold.shape[1])
    return [float(official.find(name)(gold[:, [c]], preds[:, [c]])) for c in columns]


def _tally_cells(gold: FloatArray, preds: Preds, beside: Beside) -> FloatArray:
    """True positives, false positives, false negatives, annotated: `(n, L, 4)`."""
    known = ~np.isnan(gold)
    truth = np.where(known, np.minimum(gold, 1.0), 0.0)
    called = known & (preds.astype(np.float64) > 0)
    parts = [truth * called, (1 - truth) * called, truth * ~called, known]
    return np.stack(parts, axis=-1).astype(np.float64)


def _tally_moments(gold: FloatArray, preds: Preds, beside: Beside) -> FloatArray:
    """Sums for Pearson's r `(n, L, 6)`: x, y, x^2, y^2, x y, annotated."""
    known = ~np.isnan(gold)
    x, y = np.where(known, preds.astype(np.float64), 0.0), np.where(known, gold, 0.0)
    return np.stack([x, y, x * x, y * y, x * y, known.astype(np.float64)], axis=-1)


def _tally_ranks(gold: FloatArray, preds: Preds, beside: Beside) -> FloatArray:
    """The moments of the ranks among these rows, from -1 to 1."""
    ranks = [np.full(gold.shape, np.nan) for _ in "xy"]
    for column, known in enumerate((~np.isnan(gold)).T):
        for side, values in zip(ranks, (preds, gold), strict=True):
            order = official.average_ranks(values[known, column])
            side[known, column] = 2 * order / max(len(order), 1) - 1
    return _tally_moments(ranks[1], ranks[0], beside)


def _tally_gaps(power: int) -> Callable[[FloatArray, Preds, Beside], FloatArray]:
    """Errors to a power, annotated: `(n, L, 2)`."""

    def tally(gold: FloatArray, preds: Preds, beside: Beside) -> FloatArray:
        known = ~np.isnan(gold)
        gaps = np.where(known, np.abs(gold - preds.astype(np.float64)), 0.0) ** power
        return np.stack([gaps, known.astype(np.float64)], axis=-1)

    return tally


def _tally_rows(name: str) -> Callable[[FloatArray, Preds, Beside], FloatArray]:
    """The value of each row, counted: `(n, 1, 2)`, for metrics that are a mean over rows."""

    def tally(gold: FloatArray, preds: Preds, beside: Beside) -> FloatArray:
        by_row = official.find(name).by_row
        assert by_row is not None
        values = np.asarray(by_row(gold, preds, beside), dtype=np.float64)
        counted = ~np.isnan(values)
        return np.stack([np.where(counted, values, 0.0), counted], axis=-1)[:, None].astype(float)

    return tally


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


def _combine_gaps(root: float) -> Callable[[FloatArray, Mask], FloatArray]:
    def combine(sums: FloatArray, scored: Mask) -> FloatArray:
        return _mean_labels(_divide(sums[..., 0], sums[..., 1]) ** root, scored)

    return combine


def _combine_rate(sums: FloatArray, scored: Mask) -> FloatArray:
    return _divide(sums[..., 0, 0], sums[..., 0, 1])


def _macro(find: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray, Mask], FloatArray]:
    return lambda sums, scored: _mean_labels(find(sums), scored)


def _weighted(find: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray, Mask], FloatArray]:
    return lambda sums, scored: _weigh_labels(find(sums), sums, scored)


def _micro(sums: FloatArray, scored: Mask) -> FloatArray:
    return _find_f1(sums[..., scored, :].sum(axis=-2))


_BY_COLUMN = ("pearson_r", "pearson", "spearman", "rmse", "mae")
_BY_ROW = (
    "accuracy",
    "exact_match",
    "jaccard",
    "within_sd",
    "jensen_shannon",
    "soft_cons",
    "hard_cons",
)
_METRICS = {
    metric.name: metric
    for metric in (
        Metric("macro_f1", _tally_cells, _macro(_find_f1)),
        Metric("micro_f1", _tally_cells, _micro),
        Metric("weighted_precision", _tally_cells, _weighted(_find_precision)),
        Metric("weighted_recall", _tally_cells, _weighted(_find_recall)),
        Metric("weighted_f1", _tally_cells, _weighted(_find_f1)),
        Metric("pearson_r", _tally_moments, _macro(_correlate)),
        Metric("pearson", _tally_moments, _macro(_correlate)),
        Metric("spearman", _tally_ranks, _macro(_correlate)),
        Metric("rmse", _tally_gaps(2), _combine_gaps(0.5)),
        Metric("mae", _tally_gaps(1), _combine_gaps(1.0)),
        *(Metric(name, _tally_rows(name), _combine_rate) for name in _BY_ROW),
    )
}
