"""Cut points that round an expected level so that Pearson's r is highest.

With rows sorted by expected level, the preds of cut points c1 <= ... <= cM depend on the counts
k_m of rows at or above c_m alone: sum x = sum k_m, sum x^2 = sum (2m - 1) k_m, and sum x y is the
sum over m of the gold mass above c_m. So every candidate is scored from two running sums, and one
coordinate of all bootstraps is optimised at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.oof import FloatArray, IntArray

# Candidate cuts per label: half of them spread over all ranks, half of them toward the top rows,
# where the rare high levels are.
_N_CANDIDATES = 240
_MAX_SWEEPS = 25
_BATCH_CELLS = 1_000_000


def tune_cuts(
    expected: FloatArray, levels: FloatArray, counts: NDArray[np.int32], n_levels: int
) -> FloatArray:
    """The best cut points of every bootstrap by coordinate ascent on Pearson's r.

    Args:
        expected: `(n,)`, the sum of the event probs, 0..n_levels.
        levels: `(n,)`, gold.
        counts: `(B, n)`, how often each bootstrap drew each row.
        n_levels: M.

    Returns:
        Cut points `(B, M)`, non-decreasing; NaN for a bootstrap whose gold is constant.
    """
    candidates = _list_candidates(expected)
    found = np.empty((len(counts), n_levels))
    starts = _list_starts(expected, levels, candidates, n_levels)
    step = max(1, _BATCH_CELLS // len(expected))
    for first in range(0, len(counts), step):
        drawn = counts[first : first + step]
        sums = _Sums(expected, levels, drawn, candidates)
        chosen, _ = _ascend(sums, starts, shared=False)
        cuts = candidates[chosen]
        found[first : first + step] = np.where(sums.constant[:, None], np.nan, cuts)
    return found


def tune_shared_cuts(expected: FloatArray, levels: FloatArray, n_levels: int) -> FloatArray:
    """The cut points `(M,)` that all labels share, with the highest mean r over the labels.

    Args:
        expected: `(n, L)`.
        levels: `(n, L)`, gold; NaN is left out.
        n_levels: M.
    """
    natural: FloatArray = np.arange(n_levels, dtype=np.float64) + 0.5
    known = ~np.isnan(levels)
    if not known.any():
        return natural
    candidates = _list_candidates(expected[known])
    parts = [
        _Sums(expected[mask, label], levels[mask, label], None, candidates)
        for label, mask in enumerate(known.T)
        if mask.any()
    ]
    sums = _Sums.stack([part for part in parts if not part.constant[0]])
    if sums is None:
        return natural
    starts = _list_starts(expected[known], levels[known], candidates, n_levels)
    chosen, _ = _ascend(sums, starts, shared=True)
    return np.asarray(candidates[chosen[0]], dtype=np.float64)


class _Sums:
    """Per bootstrap (or label) and candidate: rows and gold mass at or above it `(B, Q)`."""

    def __init__(
        self,
        expected: FloatArray,
        levels: FloatArray,
        counts: NDArray[np.int32] | None,
        candidates: FloatArray,
    ) -> None:
        drawn = np.ones((1, len(expected)), dtype=np.int32) if counts is None else counts
        order = np.argsort(-expected, kind="stable")
        drawn, gold = drawn[:, order], levels[order].astype(np.int32)
        above = np.searchsorted(-expected[order], -candidates, side="right")
        rows = np.zeros((len(drawn), len(expected) + 1), dtype=np.int32)
        mass = np.zeros_like(rows)
        np.cumsum(drawn, axis=1, out=rows[:, 1:])
        np.cumsum(drawn * gold, axis=1, out=mass[:, 1:])
        self.rows: FloatArray = rows[:, above].astype(np.float64)
        self.mass: FloatArray = mass[:, above].astype(np.float64)
        self.n: FloatArray = rows[:, -1:].astype(np.float64)
        self.y: FloatArray = mass[:, -1:].astype(np.float64)
        squares = (drawn.astype(np.float64) @ (gold.astype(np.float64) ** 2))[:, None]
        self.var_y: FloatArray = self.n * squares - self.y**2

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which bootstraps have a constant gold `(B,)`."""
        result: NDArray[np.bool_] = self.var_y[:, 0] <= 0
        return result

    @classmethod
    def stack(cls, parts: list[_Sums]) -> _Sums | None:
        """The labels' sums below one another, or None without any."""
        if not parts:
            return None
        stacked = cls.__new__(cls)
        for name in ("rows", "mass", "n", "y", "var_y"):
            setattr(stacked, name, np.concatenate([getattr(part, name) for part in parts]))
        return stacked

    def correlate(self, x: FloatArray, xx: FloatArray, xy: FloatArray) -> FloatArray:
        """Pearson's r from sums of x, x^2 and x y `(B, Q)`; 0 where a side is constant."""
        spread = (self.n * xx - x**2) * self.var_y
        r = (self.n * xy - x * self.y) / np.sqrt(np.maximum(spread, 1e-300))
        return np.where(spread > 0, r, 0.0)


def _ascend(sums: _Sums, starts: IntArray, shared: bool) -> tuple[IntArray, FloatArray]:
    """Move one cut at a time to its best candidate until none moves; the best over the starts.

    Returns:
        Candidate numbers `(B, M)` and r `(B,)`; with `shared`, one row for all, by the mean r.
    """
    n_rows = 1 if shared else len(sums.rows)
    best = np.zeros((n_rows, starts.shape[1]), dtype=np.int64)
    best_r = np.full(n_rows, -np.inf)
    for start in starts:
        chosen = np.tile(start, (n_rows, 1))
        reached = np.full(n_rows, -np.inf)
        for _ in range(_MAX_SWEEPS):
            before = chosen.copy()
            for position in range(starts.shape[1]):
                reached = _move_cut(sums, chosen, position, shared)
            if (chosen == before).all():
                break
        better = reached > best_r + 1e-12
        best[better], best_r[better] = chosen[better], reached[better]
    return best, best_r


def _move_cut(sums: _Sums, chosen: IntArray, position: int, shared: bool) -> FloatArray:
    """Set one cut of each row of `chosen` to the best candidate between its neighbours."""
    n_levels, n_candidates = chosen.shape[1], sums.rows.shape[1]
    index = np.broadcast_to(chosen, (len(sums.rows), n_levels))
    x, xx, xy = sums.rows.copy(), (2 * position + 1) * sums.rows, sums.mass.copy()
    for other in range(n_levels):
        if other != position:
            rows = np.take_along_axis(sums.rows, index[:, [other]], axis=1)
            x += rows
            xx += (2 * other + 1) * rows
            xy += np.take_along_axis(sums.mass, index[:, [other]], axis=1)
    r = sums.correlate(x, xx, xy)
    if shared:
        r = r.mean(axis=0, keepdims=True)
    numbers = np.arange(n_candidates)
    if position:
        r = np.where(numbers >= chosen[:, [position - 1]], r, -np.inf)
    if position < n_levels - 1:
        r = np.where(numbers <= chosen[:, [position + 1]], r, -np.inf)
    chosen[:, position] = r.argmax(axis=1)
    result: FloatArray = r.max(axis=1)
    return result


def _list_candidates(expected: FloatArray) -> FloatArray:
    """Ascending middles between distinct neighbours at chosen ranks, and both open ends."""
    ordered = np.unique(expected)[::-1]
    half = _N_CANDIDATES // 2
    spread = np.linspace(1, len(ordered), half)
    toward_top = np.geomspace(1, len(ordered), half)
    ranks = np.unique(np.concatenate([spread, toward_top]).astype(np.int64))
    ranks = ranks[ranks < len(ordered)]
    lower, upper = ordered[ranks], ordered[ranks - 1]
    middle = lower + (upper - lower) / 2
    middle = np.where(middle > lower, middle, upper)
    ends = [np.nextafter(ordered[-1], -np.inf), np.nextafter(ordered[0], np.inf)]
    return np.unique(np.concatenate([middle, ends]))


def _list_starts(
    expected: FloatArray, levels: FloatArray, candidates: FloatArray, n_levels: int
) -> IntArray:
    """Candidate numbers nearest to plain rounding and to matching the share of every level."""
    natural = np.arange(n_levels) + 0.5
    shares = [(levels >= level).mean() for level in range(1, n_levels + 1)]
    matching = np.quantile(expected, 1 - np.array(shares))
    starts = np.stack([natural, matching])
    return np.minimum(np.searchsorted(candidates, starts), len(candidates) - 1)
