"""Tallies of right and wrong over sorted probabilities, for all bootstraps at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.oof import FloatArray, IntArray, Mask
from semeval_kit.errors import KitError
from semeval_kit.submission import metrics as official
from semeval_kit.submission.metrics import NOTHING, Beside, count_labels

Preds = NDArray[np.generic]
CELL_METRICS = ("macro_f1", "micro_f1", "weighted_precision", "weighted_recall", "weighted_f1")
"""Metrics of counts per label, so that each cell can count for a weight of its own."""
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

# Two values of F that differ by less are one plateau; rational ties are exact, sums of them not.
_PLATEAU = 1e-12

# Cells held at once by a batch of bootstraps.
_BATCH_CELLS = 1_000_000


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

    Metrics of whole rows pass over `scored` `(L,)`, which says which labels count.

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


def sweep_label(scores: FloatArray, gold: FloatArray) -> float:
    """The threshold with the highest F1 for one label, by F = 2 TP / (k + P) for the top k.

    Scores and gold, 0 or 1, are `(n,)`.

    Returns:
        The middle of the optimal plateau; just below the lowest score if all rows are best called
        positive, just above the highest if no row is positive in gold; NaN without rows.
    """
    if not len(scores):
        return float("nan")
    if not gold.any():
        return float(np.nextafter(scores.max(), np.inf))
    ones = np.ones((1, len(scores)), dtype=np.int32)
    return float(sweep_bags(scores, gold, ones)[0])


def sweep_bags(scores: FloatArray, gold: FloatArray, counts: NDArray[np.int32]) -> FloatArray:
    """The best threshold of every bootstrap, all of them over one sort: O(n log n + B n).

    Args:
        scores: `(n,)`.
        gold: `(n,)` of 0 and 1.
        counts: `(B, n)`, how often each bootstrap drew each row.

    Returns:
        Thresholds `(B,)`, NaN for a bootstrap without a positive.
    """
    order = np.argsort(-scores, kind="stable")
    levels, ends = _find_levels(scores[order])
    hits_at = np.flatnonzero(gold[order])
    # F1 falls along negatives, so an optimum ends at the level of a positive.
    candidates = np.unique(np.searchsorted(ends, hits_at))
    n_hits = np.searchsorted(hits_at, ends, side="right")
    thresholds = np.full(len(counts), np.nan)
    if not len(hits_at):
        return thresholds
    step = max(1, _BATCH_CELLS // len(scores))
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step, order]
        called = np.cumsum(drawn, axis=1, dtype=np.int32)
        hits = np.cumsum(drawn[:, hits_at], axis=1, dtype=np.int32)
        total = hits[:, -1]
        f1 = 2.0 * hits[:, n_hits[candidates] - 1]
        f1 /= np.maximum(called[:, ends[candidates]] + total[:, None], 1)
        first = (f1 >= f1.max(axis=1, keepdims=True) - _PLATEAU).argmax(axis=1)
        bags = going = np.flatnonzero(total)
        level, best = candidates[first], f1[np.arange(len(f1)), first]
        upper, lower = levels[level], np.full(len(level), -np.inf)
        while len(going):  # down to the first level whose F1 is lower
            # Levels of which a bootstrap drew no row change nothing.
            reached = called[going, ends[level[going]]]
            position = np.array(
                [
                    called[bag].searchsorted(n, "right")
                    for bag, n in zip(going, reached, strict=True)
                ]
            )
            going, position = going[position < len(scores)], position[position < len(scores)]
            level[going] = at = np.searchsorted(ends, position)
            now = 2.0 * hits[going, n_hits[at] - 1] / (called[going, ends[at]] + total[going])
            has_ended = now < best[going] - _PLATEAU
            lower[going[has_ended]] = levels[at[has_ended]]
            going = going[~has_ended]
        thresholds[start + bags] = find_middles(upper[bags], lower[bags])
    return thresholds


def sweep_global(scores: FloatArray, gold: FloatArray) -> float:
    """The one threshold for all labels with the highest macro-F1, by one merged sweep.

    Passing a cell changes the F1 of its own label only, so the macro-F1 after each cell is a
    running sum of such changes over the merged order: O(n L log(n L)).

    Args:
        scores: `(n, L)`.
        gold: `(n, L)` of 0, 1 and NaN (not annotated, left out).

    Returns:
        The middle of the optimal plateau; NaN if no cell is positive.
    """
    merged_scores, changes = [], []
    for label in range(scores.shape[1]):
        annotated = ~np.isnan(gold[:, label])
        column, truth = scores[annotated, label], gold[annotated, label]
        order = np.argsort(-column, kind="stable")
        hits = np.cumsum(truth[order])
        if not len(hits) or hits[-1] == 0:
            continue
        f1 = 2.0 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
        merged_scores.append(column[order])
        changes.append(np.diff(f1, prepend=0.0))
    if not changes:
        return float("nan")
    pooled = np.concatenate(merged_scores)
    order = np.argsort(-pooled, kind="stable")
    levels, ends = _find_levels(pooled[order])
    macro = np.cumsum(np.concatenate(changes)[order])[ends] / len(changes)
    worse = macro < macro.max() - _PLATEAU
    first = int(np.argmin(worse))
    below = np.append(levels[first:][worse[first:]], -np.inf)
    return float(find_middles(levels[first], below[0]))


def find_middles(upper: FloatArray, lower: FloatArray) -> FloatArray:
    """Thresholds that take in `upper` but not `lower`; just below `upper` where that is -inf."""
    open_ended = lower == -np.inf
    floor = np.where(open_ended, upper, lower)
    middles = floor + (upper - floor) / 2
    # Between neighbouring floats the middle rounds to one of them; only the upper one is a cut.
    middles = np.where(middles > floor, middles, upper)
    return np.where(open_ended, np.nextafter(upper, -np.inf), middles)


def draw_counts(n_draws: int, units: IntArray, rng: np.random.Generator) -> NDArray[np.int32]:
    """How often each of `n_draws` bootstraps draws each row, `(n_draws, n)`.

    Units `(n,)`, 0..U-1, say which rows are drawn together.
    """
    n_units = int(units.max()) + 1 if len(units) else 0
    counts = np.empty((n_draws, len(units)), dtype=np.int32)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)[units]
    return counts


def _tally_cells(gold: FloatArray, preds: Preds, beside: Beside) -> FloatArray:
    """True positives, false positives, false negatives, annotated: `(n, L, 4)`."""
    annotated = ~np.isnan(gold)
    truth = np.where(annotated, np.minimum(gold, 1.0), 0.0)
    called = annotated & (preds.astype(np.float64) > 0)
    parts = [truth * called, (1 - truth) * called, truth * ~called, annotated]
    return np.stack(parts, axis=-1).astype(np.float64)


def _tally_moments(gold: FloatArray, preds: Preds, beside: Beside) -> FloatArray:
    """Sums for Pearson's r `(n, L, 6)`: x, y, x^2, y^2, x y, annotated."""
    annotated = ~np.isnan(gold)
    x, y = np.where(annotated, preds.astype(np.float64), 0.0), np.where(annotated, gold, 0.0)
    return np.stack([x, y, x * x, y * y, x * y, annotated.astype(np.float64)], axis=-1)


def _tally_ranks(gold: FloatArray, preds: Preds, beside: Beside) -> FloatArray:
    """The moments of the ranks among these rows, from -1 to 1."""
    ranks = [np.full(gold.shape, np.nan) for _ in "xy"]
    for column, annotated in enumerate((~np.isnan(gold)).T):
        for side, values in zip(ranks, (preds, gold), strict=True):
            order = official.average_ranks(values[annotated, column])
            side[annotated, column] = 2 * order / max(len(order), 1) - 1
    return _tally_moments(ranks[1], ranks[0], beside)


def _tally_gaps(power: int) -> Callable[[FloatArray, Preds, Beside], FloatArray]:
    """Errors to a power, annotated: `(n, L, 2)`."""

    def tally(gold: FloatArray, preds: Preds, beside: Beside) -> FloatArray:
        annotated = ~np.isnan(gold)
        gaps = np.where(annotated, np.abs(gold - preds.astype(np.float64)), 0.0) ** power
        return np.stack([gaps, annotated.astype(np.float64)], axis=-1)

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


def _find_levels(ordered: FloatArray) -> tuple[FloatArray, IntArray]:
    """The distinct scores, descending, and the last position of each."""
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return ordered[ends], ends
