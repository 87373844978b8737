"""Intensities: from probs of the cumulative events y >= 1, y >= 2, ... to levels, for Pearson's r.

Two methods are tuned, compared by cross-fitting on the rows given, and the better one is kept:
"running_and" sums the running AND of F1-tuned event thresholds; "expected_value" rounds the
expected level (the sum of the event probs) at cut points tuned for r.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from semeval_kit.decision.cuts import tune_cuts, tune_shared_cuts
from semeval_kit.decision.oof import FloatArray, OofRows, split_languages
from semeval_kit.decision.resampling import Board, split_groups
from semeval_kit.decision.rule import IntensityRule, Thresholds, decode_levels, join_levels
from semeval_kit.decision.sweep import draw_counts
from semeval_kit.decision.thresholds import (
    Tuning,
    count_positives,
    tune_thresholds,
    weigh_positives,
)
from semeval_kit.errors import KitError

METHODS = ("running_and", "expected_value")

# The comparison of the methods needs a ranking, not final thresholds.
_COMPARISON_BAGS = 10
_COMPARISON_PARTS = 5


def tune_intensity(rows: OofRows, tuning: Tuning) -> Thresholds:
    """Tune both methods on the rows given and keep the one with the better cross-fitted r.

    Args:
        rows: probs `(n, L * n_levels)`, label-major: P(y >= 1), P(y >= 2), ... of the first label
            first. Their folds are the partition on which the methods are compared; with one fold
            only, random parts are.
        tuning: cut points are bagged and shrunk as thresholds are.

    Returns:
        Thresholds of the events, with an `IntensityRule` that holds the cut points and, as
        comparison, the r of each method and the margin.

    Raises:
        KitError: targets do not fit the levels, or a prob is not a number in 0..1.
    """
    names, n_levels = rows.target_names, tuning.n_levels
    if not names or len(names) % n_levels:
        raise KitError(
            f"intensity: {len(names)} targets are no multiple of {n_levels} levels. "
            "Check max_intensity in the task file."
        )
    if len(np.unique(rows.folds)) < 2:
        rng = np.random.default_rng([tuning.seed, _COMPARISON_PARTS])
        parts = split_groups(rows.groups, rows.languages, _COMPARISON_PARTS, rng)
        rows = replace(rows, folds=parts)
    thresholds = _tune_methods(rows, tuning)
    comparison = _compare_methods(rows, tuning)
    return _set_method(thresholds, comparison["kept"], comparison)


def _tune_methods(rows: OofRows, tuning: Tuning) -> Thresholds:
    """Event thresholds and cut points, the method still open.

    Cut points are tuned over all languages, and those of each language shrunk toward them.
    """
    expected = rows.probs.reshape(len(rows), -1, tuning.n_levels).sum(axis=2)
    levels = join_levels(rows.targets, tuning.n_levels)
    shared = tune_shared_cuts(expected, levels, tuning.n_levels)
    joint = _tune_pool(rows, tuning, np.tile(shared, (levels.shape[1], 1)), "")
    rows_of = split_languages(rows.languages)
    cuts = {
        language: joint
        if len(rows_of) == 1
        else _tune_pool(rows.take(numbers), tuning, joint, language)
        for language, numbers in rows_of.items()
    }
    labels = tuple(name.rsplit(">=", 1)[0] for name in rows.target_names[:: tuning.n_levels])
    rule = IntensityRule(METHODS[1], labels, tuning.n_levels, cuts, joint)
    return replace(tune_thresholds(rows, tuning), intensity=rule)


def _tune_pool(pool: OofRows, tuning: Tuning, anchor: FloatArray, key: str) -> FloatArray:
    """Median cut points over bootstraps `(L, M)`, shrunk toward the anchor."""
    expected = pool.probs.reshape(len(pool), -1, tuning.n_levels).sum(axis=2)
    levels = join_levels(pool.targets, tuning.n_levels)
    rng = np.random.default_rng([tuning.seed, zlib.crc32(key.encode())])
    drawn = draw_counts(tuning.n_bags, np.unique(pool.groups, return_inverse=True)[1], rng)
    if not tuning.n_bags:
        drawn = np.ones((1, len(expected)), dtype=np.int32)
    optima = np.full(anchor.shape, np.nan)
    for label in range(len(optima)):
        known = ~np.isnan(levels[:, label])
        if not known.any():
            continue
        gold = levels[known, label]
        bags = tune_cuts(expected[known, label], gold, drawn[:, known], tuning.n_levels)
        bags = bags[~np.isnan(bags).any(axis=1)]
        optima[label] = np.median(bags, axis=0) if len(bags) else anchor[label]
    positives = count_positives(pool.targets).reshape(anchor.shape)
    weights = weigh_positives(positives, tuning)
    mixed = weights * optima + (1 - weights) * anchor
    # A rare level leans on the anchor more than a common one, which could cross the two.
    result: FloatArray = np.maximum.accumulate(mixed, axis=1)
    return result


def _compare_methods(rows: OofRows, tuning: Tuning) -> dict[str, Any]:
    """Mean r over languages of each method, tuned without the fold that it is applied to."""
    quick = replace(tuning, n_bags=min(tuning.n_bags, _COMPARISON_BAGS))
    gold = join_levels(rows.targets, tuning.n_levels)
    preds = {method: np.zeros(gold.shape, dtype=np.int64) for method in METHODS}
    for fold in np.unique(rows.folds):
        held_out = np.flatnonzero(rows.folds == fold)
        tuned = _tune_methods(rows.take(np.flatnonzero(rows.folds != fold)), quick)
        pool = rows.take(held_out)
        for method in METHODS:
            rule = _set_method(tuned, method, {})
            levels = decode_levels(pool.probs, rule, pool.languages, tuning.n_levels)
            preds[method][held_out] = levels
    board = Board.of("pearson_r", gold, rows.languages, groups=rows.groups)
    scores = {method: board.score(preds[method]) for method in METHODS}
    kept = max(METHODS, key=lambda method: scores[method])
    other = METHODS[1 - METHODS.index(kept)]
    return {**scores, "kept": kept, "margin": scores[kept] - scores[other]}


def _set_method(thresholds: Thresholds, method: str, comparison: dict[str, Any]) -> Thresholds:
    assert thresholds.intensity is not None
    rule = replace(thresholds.intensity, method=method, comparison=comparison)
    return replace(thresholds, intensity=rule)
