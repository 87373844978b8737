"""Intensities: from probs of the cumulative events y >= 1, y >= 2, ... to levels, for Pearson's r.

Two methods are tuned, compared by cross-fitting on the rows given, and the better one is kept:
"running_and" sums the running AND of F1-tuned event thresholds; "expected_value" rounds the
expected level (the sum of the event probs) at cut points tuned for r.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from semeval_kit.decision.cuts import apply_cuts, tune_cuts, tune_shared_cuts
from semeval_kit.decision.partitions import split_units
from semeval_kit.decision.rules import FloatArray, IntArray, IntensityRule, Thresholds
from semeval_kit.decision.sweep import draw_counts, index_units
from semeval_kit.decision.tallies import score_rows
from semeval_kit.decision.thresholds import (
    count_positives,
    split_languages,
    tune_thresholds,
    weigh_positives,
)
from semeval_kit.errors import KitError

METHODS = ("running_and", "expected_value")

# The comparison of the methods needs a ranking, not final thresholds.
_COMPARISON_BAGS = 10
_COMPARISON_PARTS = 5


def tune_intensity(
    probs: FloatArray,
    targets: FloatArray,
    languages: Sequence[str],
    target_names: Sequence[str],
    *,
    n_levels: int = 3,
    folds: IntArray | None = None,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    n_bags: int = 100,
    shrinkage: float = 20.0,
    min_positives: int = 5,
) -> Thresholds:
    """Tune both methods on the rows given and keep the one with the better cross-fitted r.

    Args:
        probs: `(n, L * n_levels)`, label-major: P(y >= 1), P(y >= 2), ... of the first label first.
        targets: `(n, L * n_levels)` of 0, 1 and NaN.
        languages: `(n,)`.
        target_names: `L * n_levels` names, "anger>=1", "anger>=2", ...
        n_levels: M, the highest level.
        folds: `(n,)`, the partition of the comparison; None: five parts by group.
        groups: `(n,)`, rows that belong together.
        seed: of bootstraps and parts.
        n_bags: bootstraps per threshold and cut point.
        shrinkage: as for `tune_thresholds`; cut point m of a label counts the rows with y >= m.
        min_positives: as for `tune_thresholds`.

    Returns:
        Thresholds of the events whose `.intensity` holds the method kept, its cut points, and the
        comparison: the r of each method and the margin.

    Raises:
        KitError: shapes do not fit.
    """
    if not target_names or len(target_names) % n_levels:
        raise KitError(
            f"intensity: {len(target_names)} targets are no multiple of {n_levels} levels. "
            "Check max_intensity in the task file."
        )
    units = index_units(len(probs), groups)
    rows = _Rows(probs, targets, tuple(languages), units)
    tuner = _Tuner(tuple(target_names), n_levels, seed, n_bags, shrinkage, min_positives)
    if folds is None or len(np.unique(folds)) < 2:
        rng = np.random.default_rng([seed, _COMPARISON_PARTS])
        folds = split_units(units, languages, _COMPARISON_PARTS, rng)
    chosen = tuner.tune(rows)
    comparison = _compare_methods(tuner, rows, folds)
    assert chosen.intensity is not None
    rule = replace(chosen.intensity, method=comparison["kept"], comparison=comparison)
    return replace(chosen, intensity=rule)


def decode_levels(
    probs: FloatArray, thresholds: Thresholds, languages: Sequence[str], n_levels: int
) -> IntArray:
    """Levels `(n, L)` of event probs `(n, L * n_levels)` by the rule stored with the thresholds.

    Thresholds without a rule (those of `baseline_thresholds`) are decoded by the running AND.
    """
    events = probs.reshape(len(probs), -1, n_levels)
    rule = thresholds.intensity
    if rule is not None and rule.method == "expected_value":
        return apply_cuts(events.sum(axis=2), rule.rows(languages))
    reached = events >= thresholds.rows(languages).reshape(events.shape)
    levels: IntArray = np.logical_and.accumulate(reached, axis=2).sum(axis=2)
    return levels


def join_levels(targets: FloatArray, n_levels: int) -> FloatArray:
    """Gold levels `(n, L)` from event targets `(n, L * n_levels)`; NaN where not annotated."""
    levels: FloatArray = targets.reshape(len(targets), -1, n_levels).sum(axis=2)
    return levels


@dataclass(frozen=True)
class _Rows:
    """Out-of-fold rows and what is known about them."""

    probs: FloatArray
    targets: FloatArray
    languages: tuple[str, ...]
    units: IntArray

    def take(self, chosen: IntArray) -> _Rows:
        languages = tuple(self.languages[row] for row in chosen)
        return _Rows(self.probs[chosen], self.targets[chosen], languages, self.units[chosen])


@dataclass(frozen=True)
class _Tuner:
    """The settings of both methods."""

    names: tuple[str, ...]
    n_levels: int
    seed: int
    n_bags: int
    shrinkage: float
    min_positives: int

    def tune(self, rows: _Rows) -> Thresholds:
        """Event thresholds and cut points, the method still open."""
        thresholds = tune_thresholds(
            rows.probs,
            rows.targets,
            rows.languages,
            self.names,
            groups=rows.units.tolist(),
            seed=self.seed,
            n_bags=self.n_bags,
            shrinkage=self.shrinkage,
            min_positives=self.min_positives,
        )
        return replace(thresholds, intensity=self.tune_rule(rows))

    def tune_rule(self, rows: _Rows) -> IntensityRule:
        """Cut points over all languages, and those of each language shrunk toward them."""
        expected = rows.probs.reshape(len(rows.probs), -1, self.n_levels).sum(axis=2)
        levels = join_levels(rows.targets, self.n_levels)
        shared = tune_shared_cuts(expected, levels, self.n_levels)
        anchor = np.tile(shared, (levels.shape[1], 1))
        joint = self.tune_pool(rows, expected, levels, anchor, "")
        spoken = split_languages(rows.languages)
        cuts = {
            language: joint
            if len(spoken) == 1
            else self.tune_pool(rows.take(own), expected[own], levels[own], joint, language)
            for language, own in spoken.items()
        }
        labels = tuple(name.rsplit(">=", 1)[0] for name in self.names[:: self.n_levels])
        return IntensityRule(METHODS[1], labels, self.n_levels, cuts, joint)

    def tune_pool(
        self, rows: _Rows, expected: FloatArray, levels: FloatArray, anchor: FloatArray, key: str
    ) -> FloatArray:
        """Median cut points over bootstraps `(L, M)`, shrunk toward the anchor."""
        rng = np.random.default_rng([self.seed, zlib.crc32(key.encode())])
        drawn = draw_counts(self.n_bags, np.unique(rows.units, return_inverse=True)[1], rng)
        if not self.n_bags:
            drawn = np.ones((1, len(expected)), dtype=np.int32)
        own = np.full(anchor.shape, np.nan)
        for label in range(len(own)):
            known = ~np.isnan(levels[:, label])
            if not known.any():
                continue
            bags = tune_cuts(
                expected[known, label], levels[known, label], drawn[:, known], self.n_levels
            )
            bags = bags[~np.isnan(bags).any(axis=1)]
            own[label] = np.median(bags, axis=0) if len(bags) else anchor[label]
        positives = count_positives(rows.targets).reshape(anchor.shape)
        weights = weigh_positives(positives, self.shrinkage, self.min_positives)
        mixed = weights * own + (1 - weights) * anchor
        # A rare level leans on the anchor more than a common one, which could cross the two.
        result: FloatArray = np.maximum.accumulate(mixed, axis=1)
        return result


def _compare_methods(tuner: _Tuner, rows: _Rows, folds: IntArray) -> dict[str, Any]:
    """Mean r over languages of each method, tuned without the fold that it is applied to."""
    quick = replace(tuner, n_bags=min(tuner.n_bags, _COMPARISON_BAGS))
    gold = join_levels(rows.targets, tuner.n_levels)
    preds = {method: np.zeros(gold.shape, dtype=np.int64) for method in METHODS}
    for fold in np.unique(folds):
        held_out = np.flatnonzero(folds == fold)
        tuned = quick.tune(rows.take(np.flatnonzero(folds != fold)))
        assert tuned.intensity is not None
        own = rows.take(held_out)
        for method in METHODS:
            rule = replace(tuned, intensity=replace(tuned.intensity, method=method))
            preds[method][held_out] = decode_levels(own.probs, rule, own.languages, tuner.n_levels)
    scores = {method: _mean_r(gold, preds[method], rows.languages) for method in METHODS}
    kept = max(METHODS, key=lambda method: scores[method])
    other = METHODS[1 - METHODS.index(kept)]
    return {**scores, "kept": kept, "margin": scores[kept] - scores[other]}


def _mean_r(gold: FloatArray, preds: IntArray, languages: Sequence[str]) -> float:
    found = []
    for own in split_languages(languages).values():
        has = np.atleast_1d(~np.isnan(gold[own]).all(axis=0))
        found.append(score_rows("pearson_r", gold[own], preds[own], has))
    return float(np.mean(found))
