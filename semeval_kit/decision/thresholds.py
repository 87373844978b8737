"""Thresholds tuned on out-of-fold probs: exact per label, bagged, shrunk where positives are few.

Why no Platt step before: the shrinkage was simulated on raw probs only (there its macro-F1 came
within .001 to .012 of the oracle's, and was below fixed 0.5 in no draw); a calibration adds two
parameters per label and repairs only distortions that are affine in log-odds. As probs are raw, a
threshold may exceed 0.5; that is reported, because a calibrated one is F*/2, so never above 0.5
(Lipton et al. 2014, arXiv 1402.1892).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray, OofRows, split_languages
from semeval_kit.decision.rule import Thresholds
from semeval_kit.decision.sweep import draw_counts, sweep_bags, sweep_global, sweep_label

# Float32 probs near 1 are no finer than this; log-odds beyond it say nothing.
_EDGE = 1e-7
# Calibrated probs need no threshold above 0.5; a little more is the noise of tuning.
_OVERRATED = 0.6


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
        metric: what "singlelabel" offsets are tuned for; empty: accuracy.
        scored: `(L,)`, which labels count in it; None: all.
    """

    kind: str = "multilabel"
    seed: int = 0
    n_levels: int = 3
    n_bags: int = 100
    shrinkage: float = 20.0
    min_positives: int = 5
    metric: str = ""
    scored: tuple[bool, ...] | None = None


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

    Args:
        rows: out-of-fold; a target that a language does not have gets NaN.
        value: the threshold.
        rule: the name of the rule.

    Raises:
        KitError: a prob is not a number in 0..1.
    """
    rows.check_probs()

    def fill(targets: FloatArray) -> FloatArray:
        return np.where(np.isnan(targets).all(axis=0), np.nan, value)

    parts = {
        language: rows.targets[own] for language, own in split_languages(rows.languages).items()
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


def _bag_targets(pool: OofRows, n_bags: int, rng: np.random.Generator) -> FloatArray:
    """Median optimum over bootstraps per target `(C,)`, NaN where nothing is annotated."""
    optima = np.full(len(pool.target_names), np.nan)
    drawn = draw_counts(n_bags, np.unique(pool.groups, return_inverse=True)[1], rng)
    for target, targets in enumerate(pool.targets.T):
        known = ~np.isnan(targets)
        scores, gold = pool.probs[known, target], targets[known]
        counts = drawn if known.all() else drawn[:, known]
        bags = sweep_bags(scores, gold, counts) if len(scores) and n_bags else np.empty(0)
        bags = bags[~np.isnan(bags)]
        optima[target] = np.median(bags) if len(bags) else sweep_label(scores, gold)
    return optima


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
                    f"{language} {name}: {count} positives (fewer than {min_positives}); "
                    f"its threshold {value:.3f} is the shared one"
                )
            if value > _OVERRATED:
                warnings.append(
                    f"{language} {name}: threshold {value:.3f} is above 0.5, which calibrated "
                    "probs never need: the model overrates this label"
                )
    return warnings
