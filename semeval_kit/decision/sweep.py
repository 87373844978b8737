"""Exact sweeps over every cut between distinct scores: one label, its bootstraps, all labels.

A row is positive where its score >= threshold, here as in `decode_probs`. Hence the threshold of
"the top k rows" may be anything in (score[k], score[k-1]].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.oof import FloatArray, IntArray

# Two values of F that differ by less are one plateau; rational ties are exact, sums of them not.
_PLATEAU = 1e-12
# Cells held at once by a batch of bootstraps.
_BATCH_CELLS = 1_000_000


def sweep_label(scores: FloatArray, gold: FloatArray) -> float:
    """The threshold with the highest F1 for one label, by F = 2 TP / (k + P) for the top k.

    Args:
        scores: `(n,)`.
        gold: `(n,)` of 0 and 1.

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
    found = np.full(len(counts), np.nan)
    if not len(hits_at):
        return found
    step = max(1, _BATCH_CELLS // len(scores))
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step, order]
        called = np.cumsum(drawn, axis=1, dtype=np.int32)
        hits = np.cumsum(drawn[:, hits_at], axis=1, dtype=np.int32)
        total = hits[:, -1]
        f1 = 2.0 * hits[:, n_hits[candidates] - 1]
        f1 /= np.maximum(called[:, ends[candidates]] + total[:, None], 1)
        first = (f1 >= f1.max(axis=1, keepdims=True) - _PLATEAU).argmax(axis=1)
        for bag in np.flatnonzero(total):
            level = candidates[first[bag]]
            stop = _end_plateau(level, called[bag], hits[bag], ends, n_hits)
            lower = levels[stop] if stop < len(levels) else -np.inf
            found[start + bag] = _find_middle(levels[level], lower)
    return found


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
        known = ~np.isnan(gold[:, label])
        column, truth = scores[known, label], gold[known, label]
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
    below = np.flatnonzero(worse[first:])
    return _find_middle(levels[first], levels[first + below[0]] if len(below) else -np.inf)


def draw_counts(n_draws: int, units: IntArray, rng: np.random.Generator) -> NDArray[np.int32]:
    """How often each of `n_draws` bootstraps of the units draws each row, `(n_draws, n)`.

    Args:
        n_draws: B, the number of bootstraps.
        units: `(n,)`, the unit (group of rows drawn together) of every row, 0..U-1.
        rng: the source of the draws.
    """
    n_units = int(units.max()) + 1 if len(units) else 0
    counts = np.empty((n_draws, len(units)), dtype=np.int32)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)[units]
    return counts


def _find_levels(ordered: FloatArray) -> tuple[FloatArray, IntArray]:
    """The distinct scores, descending, and the last position of each."""
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return ordered[ends], ends


def _end_plateau(
    level: int,
    called: NDArray[np.int32],
    hits: NDArray[np.int32],
    ends: IntArray,
    n_hits: IntArray,
) -> int:
    """The first level below `level` whose F1 is lower in this bootstrap; n_levels if none is.

    Args:
        level: an optimum, the first of its plateau.
        called: `(n,)`, rows drawn up to each position.
        hits: `(P,)`, positives drawn up to each positive.
        ends: `(n_levels,)`, the last position of each level.
        n_hits: `(n_levels,)`, positives up to each level, drawn or not.
    """
    total = int(hits[-1])

    def score(at: int) -> float:
        return 2.0 * int(hits[n_hits[at] - 1]) / (int(called[ends[at]]) + total)

    best = score(level)
    while True:
        # Levels of which the bootstrap drew no row change nothing.
        position = int(np.searchsorted(called, called[ends[level]], side="right"))
        if position == len(called):
            return len(ends)
        level = int(np.searchsorted(ends, position))
        if score(level) < best - _PLATEAU:
            return level


def _find_middle(upper: float, lower: float) -> float:
    """A threshold that takes in `upper` but not `lower`; just below `upper` if nothing is lower."""
    if lower == -np.inf:
        return float(np.nextafter(upper, -np.inf))
    middle = lower + (upper - lower) / 2
    # Between neighbouring floats the middle rounds to one of them; only the upper one is a cut.
    return float(middle if middle > lower else upper)
