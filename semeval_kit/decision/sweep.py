"""Exact sweeps over every cut between distinct scores: one label, its bootstraps, all labels.

A row is positive where its score >= threshold, here as in `decode_probs`. Hence the threshold of
"the top k rows" may be anything in (score[k], score[k-1]].
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.rules import FloatArray, IntArray

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
    positive = gold[order].astype(np.int32)
    found = np.empty(len(counts))
    step = max(1, _BATCH_CELLS // len(scores))
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step, order]
        hits = np.cumsum(drawn * positive, axis=1, dtype=np.int32)
        total = hits[:, -1:].copy()
        hits, called = hits[:, ends], np.cumsum(drawn, axis=1, dtype=np.int32)[:, ends]
        f1 = 2.0 * hits / np.maximum(called + total, 1)
        middles = _find_middles(levels, f1)
        found[start : start + step] = np.where(total[:, 0] > 0, middles, np.nan)
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
    return float(_find_middles(levels, macro[None])[0])


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


def index_units(n_rows: int, groups: Sequence[Hashable] | None) -> IntArray:
    """Number the groups in the order of their first row, `(n_rows,)`; each row alone without."""
    if groups is None:
        return np.arange(n_rows, dtype=np.int64)
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(group, len(seen)) for group in groups], dtype=np.int64)


def _find_levels(ordered: FloatArray) -> tuple[FloatArray, IntArray]:
    """The distinct scores, descending, and the last position of each."""
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return ordered[ends], ends


def _find_middles(levels: FloatArray, objective: FloatArray) -> FloatArray:
    """The middle of the first optimal plateau of each row of `objective` `(B, n_levels)`."""
    n_levels = len(levels)
    optimal = objective >= objective.max(axis=1, keepdims=True) - _PLATEAU
    first = optimal.argmax(axis=1)
    beyond = ~optimal & (np.arange(n_levels) > first[:, None])
    last = np.where(beyond.any(axis=1), beyond.argmax(axis=1) - 1, n_levels - 1)
    upper, lower = levels[first], levels[np.minimum(last + 1, n_levels - 1)]
    middle: FloatArray = lower + (upper - lower) / 2
    # Between neighbouring floats the middle rounds to one of them; only the upper one is a cut.
    middle = np.where(middle > lower, middle, upper)
    return np.asarray(np.where(last == n_levels - 1, np.nextafter(upper, -np.inf), middle))
