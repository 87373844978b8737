"""Intervals and tests for the difference of two systems on the same rows, by group.

Paired bootstrap (Efron & Tibshirani 1993) and approximate randomisation (Noreen 1989; Yeh 2000):
both reweigh per-group tallies, so thousands of rounds are a matrix product.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semeval_kit.decision.rules import FloatArray, IntArray
from semeval_kit.decision.sweep import index_units
from semeval_kit.decision.tallies import Mask, Metric, find_metric, score_rows
from semeval_kit.decision.thresholds import split_languages
from semeval_kit.errors import KitError

# Cells of weights held at once.
_BATCH_CELLS = 2_000_000


@dataclass(frozen=True)
class Comparison:
    """System A against system B.

    Attributes:
        metric: name of the metric.
        score_a: mean over languages.
        score_b: likewise.
        difference: score_a - score_b.
        low: lower end of the 95% interval of the difference.
        high: upper end.
        p_value: two-sided, by approximate randomisation.
        n_examples: rows.
        n_groups: groups of rows that were drawn and swapped together.
    """

    metric: str
    score_a: float
    score_b: float
    difference: float
    low: float
    high: float
    p_value: float
    n_examples: int
    n_groups: int

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def compare_systems(
    metric: str,
    gold: FloatArray,
    preds_a: IntArray | FloatArray,
    preds_b: IntArray | FloatArray,
    languages: Sequence[str],
    *,
    scored: Mask | None = None,
    groups: Sequence[Hashable] | None = None,
    n_resamples: int = 2000,
    n_shuffles: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Say by how much A beats B, with a 95% interval and a p-value.

    Args:
        metric: a name of `competition.metrics` ("macro_f1", "pearson_r", ...), except "macro_auc";
            averaged over languages.
        gold: `(n, L)`, NaN for not annotated.
        preds_a: `(n, L)`.
        preds_b: `(n, L)`, the same rows.
        languages: `(n,)`.
        scored: `(L,)`, which labels count; None: all.
        groups: `(n,)`, rows that belong together.
        n_resamples: bootstraps of the interval.
        n_shuffles: shuffles of the p-value.
        seed: of both.

    Raises:
        KitError: shapes differ, or the metric is unknown.
    """
    if not gold.shape == preds_a.shape == preds_b.shape or len(gold) != len(languages):
        raise KitError(
            f"compare: gold {gold.shape}, A {preds_a.shape} and B {preds_b.shape} should have the "
            f"same shape with {len(languages)} rows. Compare systems on the same rows and labels."
        )
    found = find_metric(metric)
    mask = np.ones(gold.shape[1], dtype=bool) if scored is None else scored
    tallies = np.stack([found.tally(gold, preds, mask) for preds in (preds_a, preds_b)])
    units = index_units(len(gold), groups)
    languages_of = split_languages(languages)
    score_a, score_b = (
        score_languages(metric, gold, preds, languages_of, mask) for preds in (preds_a, preds_b)
    )
    drawn = resample_scores(found, tallies, gold, languages_of, units, mask, n_resamples, seed)
    low, high = find_interval(drawn[:, 0] - drawn[:, 1])
    shuffled = _shuffle_scores(found, tallies, gold, languages_of, units, mask, n_shuffles, seed)
    difference = score_a - score_b
    extreme = (np.abs(shuffled[:, 0] - shuffled[:, 1]) >= abs(difference) - 1e-12).sum()
    return Comparison(
        metric=metric,
        score_a=score_a,
        score_b=score_b,
        difference=difference,
        low=low,
        high=high,
        p_value=float((extreme + 1) / (n_shuffles + 1)),
        n_examples=len(gold),
        n_groups=len(np.unique(units)),
    )


def score_languages(
    metric: str,
    gold: FloatArray,
    preds: IntArray | FloatArray,
    languages_of: dict[str, IntArray],
    scored: Mask,
) -> float:
    """The mean over languages of the official score, each over the labels that it has."""
    scores = [
        score_rows(metric, gold[rows], preds[rows], _present(gold, rows, scored))
        for rows in languages_of.values()
    ]
    return float(np.mean(scores))


def resample_scores(
    metric: Metric,
    tallies: FloatArray,
    gold: FloatArray,
    languages_of: dict[str, IntArray],
    units: IntArray,
    scored: Mask,
    n_resamples: int,
    seed: int,
) -> FloatArray:
    """Scores `(n_resamples, S)` of S systems on the same bootstraps of groups.

    Groups are drawn within each language, as many as it has; a score is the mean over languages.

    Args:
        metric: what is scored.
        tallies: `(S, n, U, K)`.
        gold: `(n, L)`, to know which labels a language has.
        languages_of: row numbers per language.
        units: `(n,)`, the group of each row.
        scored: `(L,)`.
        n_resamples: number of bootstraps.
        seed: of the bootstraps.
    """
    total = np.zeros((n_resamples, len(tallies)))
    for number, rows in enumerate(languages_of.values()):
        rng = np.random.default_rng([seed, 1, number])
        sums = _sum_units(tallies[:, rows], units[rows])
        present = _present(gold, rows, scored)
        n_units = sums.shape[0]
        for start, stop in _batches(n_resamples, n_units):
            weights = np.empty((stop - start, n_units))
            for row in weights:
                row[:] = np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)
            total[start:stop] += metric.score(np.tensordot(weights, sums, axes=1), present)
    return total / len(languages_of)


def find_interval(values: FloatArray) -> tuple[float, float]:
    """The central 95% of bootstrapped values (percentile interval)."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _shuffle_scores(
    metric: Metric,
    tallies: FloatArray,
    gold: FloatArray,
    languages_of: dict[str, IntArray],
    units: IntArray,
    scored: Mask,
    n_shuffles: int,
    seed: int,
) -> FloatArray:
    """Scores `(n_shuffles, 2)` after the systems' answers to random groups were swapped."""
    total = np.zeros((n_shuffles, 2))
    for number, rows in enumerate(languages_of.values()):
        rng = np.random.default_rng([seed, 2, number])
        present = _present(gold, rows, scored)
        sums = _sum_units(tallies[:, rows], units[rows])
        gap = sums[:, 1] - sums[:, 0]
        flat = gap.reshape(len(gap), -1)
        # Groups whose swap changes the sums alike are one binomial draw, not many coins.
        patterns, sizes = np.unique(flat[flat.any(axis=1)], axis=0, return_counts=True)
        whole = sums.sum(axis=0)
        for start, stop in _batches(n_shuffles, max(len(sizes), gap[0].size)):
            swaps = rng.binomial(sizes, 0.5, (stop - start, len(sizes))).astype(np.float64)
            shift = (swaps @ patterns).reshape(stop - start, *gap.shape[1:])
            both = np.stack([whole[0] + shift, whole[1] - shift], axis=1)
            total[start:stop] += metric.score(both, present)
    return total / len(languages_of)


def _sum_units(tallies: FloatArray, units: IntArray) -> FloatArray:
    """Sums per group `(G, S, U, K)` of tallies `(S, n, U, K)`, groups by ascending number."""
    numbers, inverse = np.unique(units, return_inverse=True)
    flat = np.moveaxis(tallies, 1, 0).reshape(tallies.shape[1], -1)
    sums = np.zeros((len(numbers), flat.shape[1]))
    if len(numbers) == len(flat):
        sums[inverse] = flat
    else:
        np.add.at(sums, inverse, flat)
    return sums.reshape(len(numbers), len(tallies), *tallies.shape[2:])


def _present(gold: FloatArray, rows: IntArray, scored: Mask) -> Mask:
    """The scored labels that a language has: some cell is annotated."""
    return np.asarray(scored & ~np.isnan(gold[rows]).all(axis=0))


def _batches(n_rounds: int, n_units: int) -> list[tuple[int, int]]:
    step = max(1, _BATCH_CELLS // max(n_units, 1))
    return [(start, min(start + step, n_rounds)) for start in range(0, n_rounds, step)]
