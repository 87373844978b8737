"""Partitions, intervals and tests of answers to the same rows, never splitting a group.

Paired bootstrap (Efron & Tibshirani 1993) and approximate randomisation (Noreen 1989; Yeh 2000):
both reweigh per-group tallies, so thousands of rounds are a matrix product.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from semeval_kit.decision.oof import (
    FloatArray,
    IntArray,
    Mask,
    OofRows,
    Spelled,
    index_groups,
    split_languages,
)
from semeval_kit.decision.tallies import draw_counts, find_metric, score_labels, score_rows
from semeval_kit.errors import KitError
from semeval_kit.submission.metrics import NOTHING, Beside
from semeval_kit.task.metric_facts import METRIC_FACTS

N_PARTS = 5
"""Random parts of rows that have no folds."""
# Cells of weights held at once.
_BATCH_CELLS = 2_000_000


@dataclass(frozen=True)
class Comparison(Spelled):
    """System A against system B.

    Attributes:
        difference: score_a - score_b.
        low: lower end of the 95% interval of the difference.
        p_value: two-sided, by approximate randomisation.
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


@dataclass(frozen=True, eq=False)
class Board:
    """Rows whose gold labels are known, and how answers to them are scored.

    Attributes:
        metric: a name of `submission.metrics` ("macro_f1", "pearson_r", ...), except "macro_auc".
        gold: `(n, L)`, NaN for not annotated.
        languages: `(n,)`; a score is the mean over languages.
        scored: `(L,)`, which labels count.
        groups: `(n,)`, the same number for rows that belong together.
        beside: what the metric needs of each row beside gold and answers.
    """

    metric: str
    gold: FloatArray
    languages: tuple[str, ...]
    scored: Mask
    groups: IntArray
    beside: Beside = NOTHING

    @classmethod
    def of(
        cls,
        metric: str,
        gold: FloatArray,
        languages: Sequence[str],
        scored: Mask | Sequence[bool] | None = None,
        groups: Sequence[Hashable] | IntArray | None = None,
        beside: Beside = NOTHING,
    ) -> Board:
        """A board from plain sequences of the same shapes.

        Groups are any equal values for rows that belong together; None: each row alone. Without
        `scored` all labels count.

        Raises:
            KitError: the metric is unknown.
        """
        find_metric(metric)
        mask = np.ones(gold.shape[1], bool) if scored is None else np.asarray(scored, bool)
        return cls(metric, gold, tuple(languages), mask, index_groups(len(gold), groups), beside)

    @property
    def sign(self) -> int:
        """-1 where low scores are better, so that more of sign * score is always better."""
        return -1 if METRIC_FACTS[self.metric].low_is_better else 1

    @cached_property
    def rows_of(self) -> dict[str, IntArray]:
        """Row numbers per language."""
        return split_languages(self.languages)

    @cached_property
    def present(self) -> dict[str, Mask]:
        """Which labels each language has `(L,)`: some cell is annotated."""
        annotated = ~np.isnan(self.gold)
        return {g: np.atleast_1d(annotated[rows].any(axis=0)) for g, rows in self.rows_of.items()}

    def take(self, rows: IntArray) -> Board:
        """The given rows, in their order."""
        return replace(
            self,
            gold=self.gold[rows],
            languages=tuple(self.languages[row] for row in rows),
            groups=self.groups[rows],
            beside=self.beside.take(rows),
        )

    def score(self, preds: IntArray | FloatArray) -> float:
        """The mean over languages of the official score of answers `(n, L)`."""
        return float(np.mean(list(self.score_languages(preds).values())))

    def score_languages(self, preds: IntArray | FloatArray) -> dict[str, float]:
        """The official score per language, each over the labels that it has."""
        return {
            language: score_rows(
                self.metric,
                self.gold[rows],
                preds[rows],
                self.scored & self.present[language],
                self.beside.take(rows),
            )
            for language, rows in self.rows_of.items()
        }

    def score_labels(self, preds: IntArray | FloatArray) -> dict[str, list[float]]:
        """Per language, F1 (or r) of each of the L labels; what it lacks has no meaning."""
        return {
            language: score_labels(self.metric, self.gold[rows], preds[rows])
            for language, rows in self.rows_of.items()
        }

    def resample(
        self, systems: Sequence[IntArray | FloatArray], n_resamples: int, seed: int
    ) -> FloatArray:
        """Scores `(n_resamples, S)` of S answers `(n, L)` on the same bootstraps of groups.

        Groups are drawn within each language, as many as it has; a score is the mean over
        languages.
        """
        drawn = self.resample_languages(systems, n_resamples, seed)
        total = np.zeros((n_resamples, len(systems)))
        for scores in drawn.values():
            total += scores
        return total / len(drawn)

    def resample_languages(
        self,
        systems: Sequence[IntArray | FloatArray],
        n_resamples: int,
        seed: int,
        weights: FloatArray | None = None,
    ) -> dict[str, FloatArray]:
        """As `resample`, per language; `weights` `(n, L)` say what each cell counts for."""
        metric, drawn = find_metric(self.metric), {}
        for number, (language, sums) in enumerate(self._sum_groups(systems, weights)):
            rng = np.random.default_rng([seed, 1, number])
            n_groups, scored = len(sums), self.scored & self.present[language]
            scores = np.empty((n_resamples, len(systems)))
            for start, stop in _batches(n_resamples, n_groups):
                draws = draw_counts(stop - start, np.arange(n_groups), rng)
                scores[start:stop] = metric.score(np.tensordot(draws, sums, axes=1), scored)
            drawn[language] = scores
        return drawn

    def score_weighted(self, preds: IntArray | FloatArray, weights: FloatArray) -> dict[str, float]:
        """The score per language where each cell counts for its weight `(n, L)`."""
        metric = find_metric(self.metric)
        return {
            language: float(metric.score(sums.sum(axis=0), self.scored & self.present[language])[0])
            for language, sums in self._sum_groups([preds], weights)
        }

    def shuffle(
        self, preds_a: IntArray | FloatArray, preds_b: IntArray | FloatArray, n: int, seed: int
    ) -> FloatArray:
        """Scores `(n, 2)` after the systems' answers to random groups were swapped."""
        metric = find_metric(self.metric)
        total = np.zeros((n, 2))
        for number, (language, sums) in enumerate(self._sum_groups([preds_a, preds_b])):
            rng = np.random.default_rng([seed, 2, number])
            scored = self.scored & self.present[language]
            gap = sums[:, 1] - sums[:, 0]
            flat = gap.reshape(len(gap), -1)
            # Groups whose swap changes the sums alike are one binomial draw, not many coins.
            patterns, sizes = np.unique(flat[flat.any(axis=1)], axis=0, return_counts=True)
            whole = sums.sum(axis=0)
            for start, stop in _batches(n, max(len(sizes), gap[0].size)):
                swaps = rng.binomial(sizes, 0.5, (stop - start, len(sizes))).astype(np.float64)
                shift = (swaps @ patterns).reshape(stop - start, *gap.shape[1:])
                both = np.stack([whole[0] + shift, whole[1] - shift], axis=1)
                total[start:stop] += metric.score(both, scored)
        return total / len(self.rows_of)

    def _sum_groups(
        self, systems: Sequence[IntArray | FloatArray], weights: FloatArray | None = None
    ) -> Iterator[tuple[str, FloatArray]]:
        """Per language, tallies summed per group `(G, S, U, K)`, groups by ascending number."""
        metric = find_metric(self.metric)
        for language, rows in self.rows_of.items():
            gold, beside = self.gold[rows], self.beside.take(rows)
            tallies = np.stack([metric.tally(gold, preds[rows], beside) for preds in systems])
            if weights is not None:
                tallies *= weights[rows][:, : tallies.shape[2], None]
            numbers, inverse = np.unique(self.groups[rows], return_inverse=True)
            flat = np.moveaxis(tallies, 1, 0).reshape(len(rows), -1)
            sums = np.zeros((len(numbers), flat.shape[1]))
            if len(numbers) == len(flat):
                sums[inverse] = flat
            else:
                np.add.at(sums, inverse, flat)
            yield language, sums.reshape(len(numbers), len(tallies), *tallies.shape[2:])


def compare_systems(
    board: Board,
    preds_a: IntArray | FloatArray,
    preds_b: IntArray | FloatArray,
    *,
    n_resamples: int = 2000,
    n_shuffles: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Say by how much A beats B, with a 95% interval and a p-value.

    Both preds are `(n, L)`.

    Raises:
        KitError: shapes differ.
    """
    gold = board.gold
    if not gold.shape == preds_a.shape == preds_b.shape or len(gold) != len(board.languages):
        raise KitError(
            f"compare: gold {gold.shape}, A {preds_a.shape} and B {preds_b.shape} should have the "
            f"same shape with {len(board.languages)} rows. "
            "Compare systems on the same rows and labels."
        )
    score_a, score_b = board.score(preds_a), board.score(preds_b)
    drawn = board.resample([preds_a, preds_b], n_resamples, seed)
    low, high = find_interval(drawn[:, 0] - drawn[:, 1])
    shuffled = board.shuffle(preds_a, preds_b, n_shuffles, seed)
    difference = score_a - score_b
    extreme = (np.abs(shuffled[:, 0] - shuffled[:, 1]) >= abs(difference) - 1e-12).sum()
    return Comparison(
        metric=board.metric,
        score_a=score_a,
        score_b=score_b,
        difference=difference,
        low=low,
        high=high,
        p_value=float((extreme + 1) / (n_shuffles + 1)),
        n_examples=len(gold),
        n_groups=len(np.unique(board.groups)),
    )


def find_interval(values: FloatArray) -> tuple[float, float]:
    """The central 95% of bootstrapped values (percentile interval)."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def split_groups(
    groups: IntArray, languages: Sequence[str], n_parts: int, rng: np.random.Generator
) -> IntArray:
    """A random part 0..n_parts-1 for every row `(n,)`.

    Groups `(n,)` are dealt out in random order within the language of their first row, so every
    part holds its share of every language and no group is in two parts.
    """
    numbers, first_rows = np.unique(groups, return_index=True)
    first_languages = np.array([languages[row] for row in first_rows])
    shuffled = rng.permutation(len(numbers))
    dealt = shuffled[np.argsort(first_languages[shuffled], kind="stable")]
    part_of = np.empty(int(groups.max()) + 1 if len(groups) else 0, dtype=np.int64)
    part_of[numbers[dealt]] = np.arange(len(numbers)) % n_parts
    return part_of[groups]


def part_rows(rows: OofRows, seed: int | Sequence[int]) -> IntArray:
    """The parts `(n,)` of a cross-fit: the folds; of a single one five random parts by group."""
    if len(np.unique(rows.folds)) > 1:
        return rows.folds
    return split_groups(rows.groups, rows.languages, N_PARTS, np.random.default_rng(seed))


def _batches(n_rounds: int, n_groups: int) -> list[tuple[int, int]]:
    step = max(1, _BATCH_CELLS // max(n_groups, 1))
    return [(start, min(start + step, n_rounds)) for start in range(0, n_rounds, step)]
