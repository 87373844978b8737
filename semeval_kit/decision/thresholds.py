"""Thresholds: the exact optimum per label, steadied by bootstraps; where it may lie."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.oof import FloatArray, IntArray, OofRows, split_languages
from semeval_kit.decision.rule import Thresholds, join_levels
from semeval_kit.decision.tallies import (
    draw_counts,
    find_middles,
    sweep_bags,
    sweep_global,
    sweep_label,
)
from semeval_kit.plurals import count_noun
from semeval_kit.task.metric_facts import NUMERIC

# Float32 probs near 1 are no finer than this; log-odds beyond it say nothing.
_EDGE = 1e-7

# Calibrated probs need no threshold above 0.5; a little more is the noise of tuning.
_OVERRATED = 0.6

# Candidate cuts per label: half of them spread over all ranks, half of them toward the top rows,
# where the rare high levels are.
_N_CANDIDATES = 240
_MAX_SWEEPS = 25
_BATCH_CELLS = 1_000_000


@dataclass(frozen=True)
class Tuning:
    """How a rule is tuned.

    Attributes:
        kind: of the target: "multilabel", "singlelabel", "intensity", "regression" or
            "distribution".
        seed: of every random choice.
        n_levels: the highest level, for "intensity".
        n_bags: bootstraps per optimum; 0 takes the exact optimum.
        shrinkage: positives at which a target's own optimum and the shared one weigh the same.
        min_positives: below this, a target has no say in its threshold.
        metric: what offsets of "singlelabel" and a line of "regression" are tuned for; empty: the
            usual one of the kind.
        scored: `(L,)`, which labels count in it; None: all.
        limits: the range that the numbers of "regression" are kept in; None: any.
    """

    kind: str = "multilabel"
    seed: int = 0
    n_levels: int = 3
    n_bags: int = 100
    shrinkage: float = 20.0
    min_positives: int = 5
    metric: str = ""
    scored: tuple[bool, ...] | None = None
    limits: tuple[float, float] | None = None

    @property
    def is_numeric(self) -> bool:
        """Whether answers are real numbers."""
        return self.kind in NUMERIC

    def labels_of(self, target_names: tuple[str, ...]) -> tuple[str, ...]:
        """The L labels that C columns are of: each, or of an intensity's events the labels."""
        if self.kind != "intensity":
            return target_names
        return tuple(name.rsplit(">=", 1)[0] for name in target_names[:: self.n_levels])

    def gold_of(self, targets: FloatArray) -> FloatArray:
        """What answers are held against `(n, L)`: targets `(n, C)`, or the levels of events."""
        return join_levels(targets, self.n_levels) if self.kind == "intensity" else targets


def tune_thresholds(rows: OofRows, tuning: Tuning | None = None) -> Thresholds:
    """Tune one threshold per target and language for macro-F1.

    One global threshold g by a merged sweep; per target the median t over bootstraps of the exact
    optimum; then, in log-odds, w t + (1 - w) g with w = P / (P + shrinkage), and w = 0 below
    `min_positives` positives P. With several languages this gives the joint thresholds, and those
    of each language are shrunk toward the joint ones by the same rule.

    Raises:
        KitError: a prob is not a number in 0..1.
    """
    tuning = tuning or Tuning()
    rows.check_probs()
    shared = sweep_global(rows.probs, rows.targets)
    warnings = []
    if np.isnan(shared):
        shared = 0.5
        warnings.append("no target has a positive: every threshold is 0.5")

    def tune_pool(pool: OofRows, anchor: FloatArray, key: str) -> tuple[FloatArray, IntArray]:
        rng = np.random.default_rng([tuning.seed, zlib.crc32(key.encode())])
        optima = _bag_targets(pool, tuning.n_bags, rng)
        positives = count_positives(pool.targets)
        return _shrink(optima, anchor, weigh_positives(positives, tuning)), positives

    joint, joint_positives = tune_pool(rows, np.full(len(rows.target_names), shared), "")
    rows_of = split_languages(rows.languages)
    values, positives = {}, {}
    for language, numbers in rows_of.items():
        if len(rows_of) == 1:
            values[language], positives[language] = joint, joint_positives
        else:
            pool = rows.take(numbers)
            values[language], positives[language] = tune_pool(pool, joint, language)
    warnings += _list_warnings(rows.target_names, values, positives, tuning.min_positives)
    return Thresholds(
        target_names=rows.target_names,
        rule="shrunk",
        global_=shared,
        joint=joint,
        values=values,
        joint_positives=joint_positives,
        positives=positives,
        settings={
            "n_bags": tuning.n_bags,
            "shrinkage": tuning.shrinkage,
            "min_positives": tuning.min_positives,
            "seed": tuning.seed,
            "n_examples": len(rows),
        },
        warnings=tuple(warnings),
    )


def constant_thresholds(rows: OofRows, value: float, rule: str) -> Thresholds:
    """The same threshold for every target and language, untuned.

    Raises:
        KitError: a prob is not a number in 0..1.
    """
    rows.check_probs()

    def fill(targets: FloatArray) -> FloatArray:
        return np.where(np.isnan(targets).all(axis=0), np.nan, value)

    parts = {
        language: rows.targets[numbers]
        for language, numbers in split_languages(rows.languages).items()
    }
    return Thresholds(
        target_names=rows.target_names,
        rule=rule,
        global_=value,
        joint=fill(rows.targets),
        values={language: fill(targets) for language, targets in parts.items()},
        joint_positives=count_positives(rows.targets),
        positives={language: count_positives(targets) for language, targets in parts.items()},
        settings={"n_examples": len(rows)},
    )


def count_positives(targets: FloatArray) -> IntArray:
    """Positives per target `(C,)`; NaN counts as none."""
    return np.asarray(np.nansum(targets, axis=0), dtype=np.int64)


def weigh_positives(positives: IntArray, tuning: Tuning) -> FloatArray:
    """The say of a target in its own threshold: P / (P + shrinkage), 0 below `min_positives`."""
    weights = positives / np.maximum(positives + tuning.shrinkage, 1e-300)
    return np.where(positives < tuning.min_positives, 0.0, weights)


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
    best_cuts = np.empty((len(counts), n_levels))
    starts = _list_starts(expected, levels, candidates, n_levels)
    step = max(1, _BATCH_CELLS // len(expected))
    for first in range(0, len(counts), step):
        drawn = counts[first : first + step]
        sums = _Sums(expected, levels, drawn, candidates)
        numbers, _ = _ascend(sums, starts, shared=False)
        cuts = candidates[numbers]
        best_cuts[first : first + step] = np.where(sums.constant[:, None], np.nan, cuts)
    return best_cuts


def tune_shared_cuts(expected: FloatArray, levels: FloatArray, n_levels: int) -> FloatArray:
    """The cut points `(M,)` that all labels share, with the highest mean r over the labels.

    Args:
        expected: `(n, L)`.
        levels: `(n, L)`, gold; NaN is left out.
        n_levels: M.
    """
    natural: FloatArray = np.arange(n_levels, dtype=np.float64) + 0.5
    annotated = ~np.isnan(levels)
    if not annotated.any():
        return natural
    candidates = _list_candidates(expected[annotated])
    parts = [
        _Sums(expected[mask, label], levels[mask, label], None, candidates)
        for label, mask in enumerate(annotated.T)
        if mask.any()
    ]
    sums = _Sums.stack([part for part in parts if not part.constant[0]])
    if sums is None:
        return natural
    starts = _list_starts(expected[annotated], levels[annotated], candidates, n_levels)
    cuts, _ = _ascend(sums, starts, shared=True)
    return np.asarray(candidates[cuts[0]], dtype=np.float64)


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


def _bag_targets(pool: OofRows, n_bags: int, rng: np.random.Generator) -> FloatArray:
    """Median optimum over bootstraps per target `(C,)`, NaN where nothing is annotated."""
    optima = np.full(len(pool.target_names), np.nan)
    drawn = draw_counts(n_bags, np.unique(pool.groups, return_inverse=True)[1], rng)
    for target, targets in enumerate(pool.targets.T):
        annotated = ~np.isnan(targets)
        scores, gold = pool.probs[annotated, target], targets[annotated]
        counts = drawn if annotated.all() else drawn[:, annotated]
        bags = sweep_bags(scores, gold, counts) if len(scores) and n_bags else np.empty(0)
        bags = bags[~np.isnan(bags)]
        optima[target] = np.median(bags) if len(bags) else sweep_label(scores, gold)
    return optima


def _shrink(optima: FloatArray, anchor: FloatArray, weights: FloatArray) -> FloatArray:
    """Mix in log-odds `(C,)`; NaN stays where a target has no threshold of its own."""
    odds, odds_anchor = _to_log_odds(optima), _to_log_odds(anchor)
    mixed = 1.0 / (1.0 + np.exp(-(weights * odds + (1 - weights) * odds_anchor)))
    # A side that has all the weight stays as it is, even beyond the range of log-odds.
    mixed = np.where((weights == 1.0) | (optima == anchor), optima, mixed)
    mixed = np.where(weights == 0.0, anchor, mixed)
    return np.where(np.isnan(optima), np.nan, mixed)


def _to_log_odds(values: FloatArray) -> FloatArray:
    clipped = np.clip(values, _EDGE, 1 - _EDGE)
    result: FloatArray = np.log(clipped) - np.log1p(-clipped)
    return result


def _list_warnings(
    names: Sequence[str],
    values: dict[str, FloatArray],
    positives: dict[str, IntArray],
    min_positives: int,
) -> list[str]:
    warnings = []
    for language, row in values.items():
        for name, value, count in zip(names, row, positives[language], strict=True):
            if np.isnan(value):
                continue
            if count < min_positives:
                warnings.append(
                    f"{language} {name}: {count_noun(int(count), 'positive')} "
                    f"(fewer than {min_positives}); its threshold {value:.3f} is the shared one"
                )
            if value > _OVERRATED:
                warnings.append(
                    f"{language} {name}: threshold {value:.3f} is above 0.5, which calibrated "
                    "probs never need: the model overrates this label"
                )
    return warnings


def _ascend(sums: _Sums, starts: IntArray, shared: bool) -> tuple[IntArray, FloatArray]:
    """Move one cut at a time to its best candidate until none moves; the best over the starts.

    Returns:
        Candidate numbers `(B, M)` and r `(B,)`; with `shared`, one row for all, by the mean r.
    """
    n_rows = 1 if shared else len(sums.rows)
    best = np.zeros((n_rows, starts.shape[1]), dtype=np.int64)
    best_r = np.full(n_rows, -np.inf)
    for start in starts:
        numbers = np.tile(start, (n_rows, 1))
        reached = np.full(n_rows, -np.inf)
        for _ in range(_MAX_SWEEPS):
            before = numbers.copy()
            for position in range(starts.shape[1]):
                reached = _move_cut(sums, numbers, position, shared)
            if (numbers == before).all():
                break
        better = reached > best_r + 1e-12
        best[better], best_r[better] = numbers[better], reached[better]
    return best, best_r


def _move_cut(sums: _Sums, numbers: IntArray, position: int, shared: bool) -> FloatArray:
    """Set one cut of each row of `numbers` to the best candidate between its neighbours."""
    n_levels, n_candidates = numbers.shape[1], sums.rows.shape[1]
    index = np.broadcast_to(numbers, (len(sums.rows), n_levels))
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
    candidates = np.arange(n_candidates)
    if position:
        r = np.where(candidates >= numbers[:, [position - 1]], r, -np.inf)
    if position < n_levels - 1:
        r = np.where(candidates <= numbers[:, [position + 1]], r, -np.inf)
    numbers[:, position] = r.argmax(axis=1)
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
    middles = find_middles(ordered[ranks - 1], ordered[ranks])
    ends = [np.nextafter(ordered[-1], -np.inf), np.nextafter(ordered[0], np.inf)]
    return np.unique(np.concatenate([middles, ends]))


def _list_starts(
    expected: FloatArray, levels: FloatArray, candidates: FloatArray, n_levels: int
) -> IntArray:
    """Candidate numbers nearest to plain rounding and to matching the share of every level."""
    natural = np.arange(n_levels) + 0.5
    shares = [(levels >= level).mean() for level in range(1, n_levels + 1)]
    matching = np.quantile(expected, 1 - np.array(shares))
    starts = np.stack([natural, matching])
    return np.minimum(np.searchsorted(candidates, starts), len(candidates) - 1)
