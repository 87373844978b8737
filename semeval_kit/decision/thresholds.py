"""Thresholds tuned on out-of-fold probs: exact per label, bagged, shrunk where positives are few.

Why no Platt step before: the shrinkage was simulated on raw probs only (there its macro-F1 came
within .001 to .012 of the oracle's, and was below fixed 0.5 in no draw); a calibration adds two
parameters per label and repairs only distortions that are affine in log-odds. As probs are raw, a
threshold may exceed 0.5; that is reported, because a calibrated one is F*/2, so never above 0.5
(Lipton et al. 2014, arXiv 1402.1892).
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence

import numpy as np

from semeval_kit.decision.rules import FloatArray, IntArray, Thresholds
from semeval_kit.decision.sweep import (
    draw_counts,
    index_units,
    sweep_bags,
    sweep_global,
    sweep_label,
)
from semeval_kit.errors import KitError

__all__ = ["BASELINES", "Thresholds", "baseline_thresholds", "tune_thresholds"]

BASELINES = ("half", "global", "all_positive", "prevalence", "exact")

# Float32 probs near 1 are no finer than this; log-odds beyond it say nothing.
_EDGE = 1e-7
# Calibrated probs need no threshold above 0.5; a little more is the noise of tuning.
_OVERRATED = 0.6


def tune_thresholds(
    probs: FloatArray,
    targets: FloatArray,
    languages: Sequence[str],
    target_names: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    n_bags: int = 100,
    shrinkage: float = 20.0,
    min_positives: int = 5,
) -> Thresholds:
    """Tune one threshold per target and language for macro-F1.

    One global threshold g by a merged sweep; per target the median t over `n_bags` bootstraps of
    the exact optimum; then, in log-odds, w t + (1 - w) g with w = P / (P + shrinkage), and w = 0
    below `min_positives` positives P. With several languages this gives the joint thresholds, and
    those of each language are shrunk toward the joint ones by the same rule.

    Args:
        probs: `(n, C)`, out-of-fold.
        targets: `(n, C)` of 0, 1 and NaN (not annotated).
        languages: `(n,)`, the language of every row.
        target_names: the C names.
        groups: `(n,)`, rows that bootstraps draw together (copies of a text); None: none.
        seed: of the bootstraps.
        n_bags: number of bootstraps; 0 takes the exact optimum.
        shrinkage: positives at which a target's own optimum and the shared one weigh the same.
        min_positives: below this, a target has no say in its threshold.

    Raises:
        KitError: shapes do not fit, or a prob is not a number in 0..1.
    """
    names = tuple(target_names)
    check_rows(probs, targets, languages, names)
    units = index_units(len(probs), groups)
    shared = sweep_global(probs, targets)
    warnings = []
    if np.isnan(shared):
        shared = 0.5
        warnings.append("no target has a positive: every threshold is 0.5")
    settings = {"n_bags": n_bags, "shrinkage": shrinkage, "min_positives": min_positives}

    def tune_pool(rows: IntArray, anchor: FloatArray, key: str) -> tuple[FloatArray, IntArray]:
        rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
        own = _bag_targets(probs[rows], targets[rows], units[rows], n_bags, rng)
        positives = count_positives(targets[rows])
        weights = weigh_positives(positives, shrinkage, min_positives)
        return _shrink(own, anchor, weights), positives

    everything = np.arange(len(probs))
    joint, joint_positives = tune_pool(everything, np.full(len(names), shared), "")
    spoken = split_languages(languages)
    values, positives = {}, {}
    for language, rows in spoken.items():
        if len(spoken) == 1:
            values[language], positives[language] = joint, joint_positives
        else:
            values[language], positives[language] = tune_pool(rows, joint, language)
    warnings += _find_warnings(names, values, positives, min_positives)
    return Thresholds(
        target_names=names,
        rule="shrunk",
        global_=shared,
        joint=joint,
        values=values,
        joint_positives=joint_positives,
        positives=positives,
        settings={**settings, "seed": seed, "n_examples": len(probs)},
        warnings=tuple(warnings),
    )


def baseline_thresholds(
    rule: str,
    probs: FloatArray,
    targets: FloatArray,
    languages: Sequence[str],
    target_names: Sequence[str],
) -> Thresholds:
    """Thresholds of a plain rule, to compare with; shapes as for `tune_thresholds`.

    Args:
        rule: "half" (0.5), "global" (one threshold for all targets and languages), "all_positive",
            "prevalence" (as many positives as gold has, per target and language) or "exact" (the
            in-sample optimum per target and language, neither bagged nor shrunk).
        probs: `(n, C)`.
        targets: `(n, C)` of 0, 1 and NaN.
        languages: `(n,)`.
        target_names: the C names.

    Raises:
        KitError: the rule is unknown, or shapes do not fit.
    """
    if rule not in BASELINES:
        raise KitError(f"threshold rule '{rule}' is unknown. Choose one of {', '.join(BASELINES)}.")
    names = tuple(target_names)
    check_rows(probs, targets, languages, names)
    shared = {"half": 0.5, "all_positive": 0.0}.get(rule, sweep_global(probs, targets))

    def choose(rows: IntArray) -> FloatArray:
        chosen = np.full(len(names), np.nan)
        for target in range(len(names)):
            known = rows[~np.isnan(targets[rows, target])]
            scores, gold = probs[known, target], targets[known, target]
            if rule == "prevalence":
                chosen[target] = _match_prevalence(scores, gold)
            elif rule == "exact":
                chosen[target] = sweep_label(scores, gold)
            elif len(known):
                chosen[target] = shared
        return chosen

    spoken = split_languages(languages)
    return Thresholds(
        target_names=names,
        rule=rule,
        global_=shared,
        joint=choose(np.arange(len(probs))),
        values={language: choose(rows) for language, rows in spoken.items()},
        joint_positives=count_positives(targets),
        positives={language: count_positives(targets[rows]) for language, rows in spoken.items()},
        settings={"n_examples": len(probs)},
    )


def check_rows(
    probs: FloatArray, targets: FloatArray, languages: Sequence[str], names: Sequence[str]
) -> None:
    """Refuse arrays that do not fit together, and probs that are no probabilities.

    Raises:
        KitError: naming the shapes, or the first bad row and its target.
    """
    expected = (len(languages), len(names))
    if probs.shape != expected or targets.shape != expected:
        raise KitError(
            f"probs {probs.shape} and targets {targets.shape} should both be {expected}: "
            "one row per example, one column per target. Read them from the same run."
        )
    bad = np.argwhere(~((probs >= 0) & (probs <= 1)))
    if len(bad):
        row, target = bad[0]
        raise KitError(
            f"probs, row {row + 1}: '{names[target]}' is {probs[row, target]}; expected 0..1. "
            "Train that fold again."
        )


def split_languages(languages: Sequence[str]) -> dict[str, IntArray]:
    """The row numbers of every language, in the order of its first row."""
    found: dict[str, list[int]] = {}
    for row, language in enumerate(languages):
        found.setdefault(language, []).append(row)
    return {language: np.array(rows, dtype=np.int64) for language, rows in found.items()}


def count_positives(targets: FloatArray) -> IntArray:
    """Positives per target `(C,)`; NaN counts as none."""
    return np.asarray(np.nansum(targets, axis=0), dtype=np.int64)


def weigh_positives(positives: IntArray, shrinkage: float, min_positives: int) -> FloatArray:
    """The say of a target in its own threshold: P / (P + shrinkage), 0 below `min_positives`."""
    weights = positives / np.maximum(positives + shrinkage, 1e-300)
    return np.where(positives < min_positives, 0.0, weights)


def _bag_targets(
    probs: FloatArray, targets: FloatArray, units: IntArray, n_bags: int, rng: np.random.Generator
) -> FloatArray:
    """Median optimum over bootstraps per target `(C,)`, NaN where nothing is annotated."""
    found = np.full(probs.shape[1], np.nan)
    drawn = draw_counts(n_bags, np.unique(units, return_inverse=True)[1], rng)
    for target in range(probs.shape[1]):
        known = ~np.isnan(targets[:, target])
        scores, gold = probs[known, target], targets[known, target]
        counts = drawn if known.all() else drawn[:, known]
        bags = sweep_bags(scores, gold, counts) if len(scores) and n_bags else np.empty(0)
        bags = bags[~np.isnan(bags)]
        found[target] = np.median(bags) if len(bags) else sweep_label(scores, gold)
    return found


def _shrink(own: FloatArray, anchor: FloatArray, weights: FloatArray) -> FloatArray:
    """Mix in log-odds `(C,)`; NaN stays where a target has no threshold of its own."""
    odds_own, odds_anchor = _to_log_odds(own), _to_log_odds(anchor)
    mixed = 1.0 / (1.0 + np.exp(-(weights * odds_own + (1 - weights) * odds_anchor)))
    # A side that has all the weight stays as it is, even beyond the range of log-odds.
    mixed = np.where((weights == 1.0) | (own == anchor), own, mixed)
    mixed = np.where(weights == 0.0, anchor, mixed)
    return np.where(np.isnan(own), np.nan, mixed)


def _to_log_odds(values: FloatArray) -> FloatArray:
    clipped = np.clip(values, _EDGE, 1 - _EDGE)
    result: FloatArray = np.log(clipped) - np.log1p(-clipped)
    return result


def _match_prevalence(scores: FloatArray, gold: FloatArray) -> float:
    """The cut between distinct scores that calls nearest to as many rows positive as gold does."""
    if not len(scores):
        return float("nan")
    ordered, wanted = np.sort(scores)[::-1], int(gold.sum())
    cuts = [0, *(np.flatnonzero(np.diff(ordered)) + 1), len(ordered)]
    k = min(cuts, key=lambda cut: abs(cut - wanted))
    if k == 0:
        return float(np.nextafter(ordered[0], np.inf))
    if k == len(ordered):
        return float(np.nextafter(ordered[-1], -np.inf))
    middle = ordered[k] + (ordered[k - 1] - ordered[k]) / 2
    return float(middle if middle > ordered[k] else ordered[k - 1])


def _find_warnings(
    names: Sequence[str],
    values: dict[str, FloatArray],
    positives: dict[str, IntArray],
    min_positives: int,
) -> list[str]:
    found = []
    for language, row in values.items():
        for name, value, count in zip(names, row, positives[language], strict=True):
            if np.isnan(value):
                continue
            if count < min_positives:
                found.append(
                    f"{language} {name}: {count} positives (fewer than {min_positives}); "
                    f"its threshold {value:.3f} is the shared one"
                )
            if value > _OVERRATED:
                found.append(
                    f"{language} {name}: threshold {value:.3f} is above 0.5, which calibrated "
                    "probs never need: the model overrates this label"
                )
    return found
