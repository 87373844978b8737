"""Metrics by name: the official arithmetic, written out so that it agrees to the last digit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.errors import KitError
from semeval_kit.task.metric_facts import METRIC_FACTS, MetricFacts

Matrix = NDArray[Any]


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives of a label."""

    tp: int
    fp: int
    fn: int

    @property
    def support(self) -> int:
        """Gold positives."""
        return self.tp + self.fn

    @property
    def precision(self) -> float:
        """Precision: tp / (tp + fp), 0 where nothing was predicted."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        """Recall: tp / (tp + fn), 0 where there is nothing to find."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0

    @property
    def f1(self) -> float:
        """F1 in the official form, 2pr / (p + r), 0 where p and r are 0."""
        precision, recall = self.precision, self.recall
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    @property
    def f1_of_counts(self) -> float:
        """F1 as scikit-learn and so the 2025 checker computes it: 2tp / (2tp + fp + fn)."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else 0.0


def count_labels(gold: Matrix, preds: Matrix) -> list[Counts]:
    """Counts per label; both are (n_examples, n_labels), positive above 0, NaN gold left out."""
    gold, preds = np.asarray(gold, dtype=np.float64), np.asarray(preds)
    annotated = ~np.isnan(gold)
    is_gold, is_pred = (gold > 0) & annotated, (preds > 0) & annotated
    tp = (is_gold & is_pred).sum(axis=0)
    fp = (~is_gold & is_pred).sum(axis=0)
    fn = (is_gold & ~is_pred).sum(axis=0)
    return [Counts(int(a), int(b), int(c)) for a, b, c in zip(tp, fp, fn, strict=True)]


def pool_counts(counts: Sequence[Counts]) -> Counts:
    """Sum of counts over labels."""
    return Counts(*(sum(getattr(c, name) for c in counts) for name in ("tp", "fp", "fn")))


def mean_of(values: Sequence[float]) -> float:
    """The plain mean, added in order; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def macro_auc(gold: Matrix, probs: Matrix) -> float:
    """Mean over labels of one-vs-rest area under the ROC curve; ties count half.

    `probs` is (n_examples, n_labels). A label without both classes is left out; NaN if all are.
    """
    areas = []
    for column in range(np.asarray(gold).shape[1]):
        positive = np.asarray(gold)[:, column] > 0
        n_positive, n_negative = int(positive.sum()), int((~positive).sum())
        if n_positive and n_negative:
            ranks = average_ranks(np.asarray(probs)[:, column])
            wins = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
            areas.append(float(wins / (n_positive * n_negative)))
    return mean_of(areas) if areas else math.nan


def pearson(gold: Sequence[int], preds: Sequence[int]) -> float:
    """Pearson r of metric "pearson_r": a constant column gives 0, or 1 if both are equal.

    As the program of SemEval-2025 Task 11, Track B, of 2026 computes it: plain sums in row order,
    clipped to [-1, 1]. See `correlation` for scipy's way.
    """
    if not gold:
        return 0.0
    gold_mean, pred_mean = sum(gold) / len(gold), sum(preds) / len(preds)
    shared = sum((g - gold_mean) * (p - pred_mean) for g, p in zip(gold, preds, strict=True))
    gold_ss = sum((g - gold_mean) ** 2 for g in gold)
    pred_ss = sum((p - pred_mean) ** 2 for p in preds)
    scale = math.sqrt(gold_ss * pred_ss)
    if scale == 0.0:
        return 1.0 if list(gold) == list(preds) else 0.0
    return max(-1.0, min(1.0, shared / scale))


def spearman(gold: Sequence[float], preds: Sequence[float]) -> float:
    """Spearman's rho, ties by their average rank; NaN if a column is constant or has NaN."""
    if np.isnan(preds).any():
        return math.nan
    return correlation(average_ranks(np.asarray(gold)), average_ranks(np.asarray(preds)))


def correlation(gold: Matrix, preds: Matrix) -> float:
    """Pearson's r as scipy has it: NaN if a column is constant, or below two rows."""
    gold, preds = np.asarray(gold, dtype=np.float64), np.asarray(preds, dtype=np.float64)
    if len(gold) < 2 or (gold == gold[0]).all() or (preds == preds[0]).all():
        return math.nan
    x, y = gold - gold.mean(), preds - preds.mean()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1.0, 1.0))


@dataclass(frozen=True)
class Beside:
    """What some metrics need of each row beside gold and answers.

    Attributes:
        spreads: `(n,)` sample standard deviation of the ratings behind gold.
        reverse: `(n,)` position of the row whose two texts are swapped, -1 where there is none.
        reversal: `(L,)` the label that each label becomes when the texts are swapped, -1 for none.
        groups: `(n,)` the value of the task's group key.
    """

    spreads: Matrix | None = None
    reverse: Matrix | None = None
    reversal: tuple[int, ...] = ()
    groups: Matrix | None = None

    def take(self, rows: Matrix) -> Beside:
        """The same for some rows, by position; a reverse that is not among them is none."""
        spreads = None if self.spreads is None else np.asarray(self.spreads)[rows]
        reverse = None
        if self.reverse is not None:
            new = np.full(len(self.reverse) + 1, -1)
            new[rows] = np.arange(len(rows))
            reverse = new[np.asarray(self.reverse)[rows]]
        groups = None if self.groups is None else np.asarray(self.groups)[rows]
        return Beside(spreads, reverse, self.reversal, groups)


NOTHING = Beside()


@dataclass(frozen=True)
class Metric:
    """A metric by name: gold and answers, both `(n_examples, n_labels)`, to a number.

    Attributes:
        name: as task files spell it.
        compute: (gold, answers, beside) of the columns that count -> the number.
        by_row: (gold, answers, beside) -> `(n,)` whose mean without NaN is the number; None where
            the metric is no mean over rows.
    """

    name: str
    compute: Callable[[Matrix, Matrix, Beside], float]
    by_row: Callable[[Matrix, Matrix, Beside], Matrix] | None = None

    @property
    def facts(self) -> MetricFacts:
        """Kinds, direction and needs."""
        return METRIC_FACTS[self.name]

    def __call__(
        self, gold: Matrix, answers: Matrix, scored: Matrix | None = None, beside: Beside = NOTHING
    ) -> float:
        """The score.

        Args:
            gold: `(n, L)`, NaN where not annotated: such a cell is neither right nor wrong.
            answers: `(n, L)`.
            scored: `(L,)` mask of the labels that count; metrics of whole rows pass over it.
            beside: what `facts.needs` names.
        """
        gold, answers = np.asarray(gold, dtype=np.float64), np.asarray(answers)
        if scored is not None and self.by_row is None:
            gold, answers = gold[:, np.asarray(scored)], answers[:, np.asarray(scored)]
        return self.compute(gold, answers, beside)


def find(name: str) -> Metric:
    """The metric of answers with that name.

    Raises:
        KitError: there is none.
    """
    if name not in METRICS:
        raise KitError(f"metric '{name}' is unknown. Choose one of {', '.join(METRICS)}.")
    return METRICS[name]


def pair_rows(ids: Sequence[str], reverse_ids: Sequence[str]) -> NDArray[np.int64]:
    """Positions `(n,)` of the rows that ids name as their reverse, both ways; -1 for none."""
    position = {row_id: i for i, row_id in enumerate(ids)}
    reverse = np.full(len(ids), -1, dtype=np.int64)
    for i, other in enumerate(reverse_ids):
        j = position.get(other.strip(), i)
        if j != i:
            reverse[i], reverse[j] = j, i
    return reverse


def pair_swapped(
    keys: Sequence[object], firsts: Sequence[str], seconds: Sequence[str]
) -> NDArray[np.int64]:
    """Positions `(n,)` of the rows with the same key and the two texts swapped; -1 for none."""
    rows: dict[tuple[object, str, str], int] = {}
    for i, row in enumerate(zip(keys, firsts, seconds, strict=True)):
        rows.setdefault(row, i)
    reverse = np.full(len(firsts), -1, dtype=np.int64)
    for i, (key, first, second) in enumerate(zip(keys, firsts, seconds, strict=True)):
        j = rows.get((key, second, first), -1)
        if j != i and j >= 0 and reverse[i] < 0 and reverse[j] < 0:
            reverse[i], reverse[j] = j, i
    return reverse


def average_ranks(values: Matrix) -> NDArray[np.float64]:
    """Ranks `(n,)` from 1, ties by their average."""
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return np.asarray((last - (sizes - 1) / 2)[inverse.reshape(-1)], dtype=np.float64)


def _weigh(value: Callable[[Counts], float]) -> Callable[[Sequence[Counts]], float]:
    """The mean of a figure over labels, weighted by gold positives."""

    def measure(counts: Sequence[Counts]) -> float:
        total = sum(c.support for c in counts)
        return sum(value(c) * c.support for c in counts) / total if total else 0.0

    return measure


def _exact_rows(gold: Matrix, answers: Matrix, beside: Beside) -> Matrix:
    annotated = ~np.isnan(gold)
    right = ((gold == answers) | ~annotated).all(axis=1)
    return np.where(annotated.any(axis=1), right, np.nan)


def _jaccard_rows(gold: Matrix, answers: Matrix, beside: Beside) -> Matrix:
    annotated = ~np.isnan(gold)
    is_gold, is_answer = annotated & (gold > 0), annotated & (answers > 0)
    both, either = (is_gold & is_answer).sum(axis=1), (is_gold | is_answer).sum(axis=1)
    shares = np.where(either == 0, 1.0, both / np.maximum(either, 1))
    return np.where(annotated.any(axis=1), shares, np.nan)


def _within_rows(gold: Matrix, answers: Matrix, beside: Beside) -> Matrix:
    """SemEval-2026 Task 5: mean - sd < p < mean + sd, or nearer to the mean than 1."""
    if beside.spreads is None:
        raise KitError("within_sd needs the spread of the ratings (scoring.spread_column).")
    spread = np.asarray(beside.spreads)[:, None]
    inside = (gold - spread < answers) & (answers < gold + spread)
    right = inside | (np.abs(gold - answers) < 1)
    return np.where(np.isnan(gold).any(axis=1), np.nan, right.all(axis=1))


def _divergence_rows(gold: Matrix, answers: Matrix, beside: Beside) -> Matrix:
    """Jensen-Shannon divergence in bits, 0 to 1, of shares that are made to sum to 1."""
    p, q = (x / np.maximum(x.sum(axis=1, keepdims=True), 1e-300) for x in (gold, answers))
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(x > 0, x * np.log2(x / middle), 0.0).sum(axis=1) for x in (p, q)]
    value = np.clip((parts[0] + parts[1]) / 2, 0.0, 1.0)
    return np.where(np.isnan(gold).any(axis=1), np.nan, value)


def _consistent_rows(gold: Matrix, answers: Matrix, beside: Beside) -> Matrix:
    """SemEval-2027 Task 2: both answers of a pair are reversible, and each other's reversal."""
    reverse, pairs = _pairs(beside)
    mine, theirs = answers.argmax(axis=1), answers.argmax(axis=1)[reverse]
    reversal = np.asarray(beside.reversal)
    consistent = (reversal[mine] == theirs) & (reversal[theirs] == mine)
    return np.where(pairs, consistent, np.nan)


def _both_right_rows(gold: Matrix, answers: Matrix, beside: Beside) -> Matrix:
    """SemEval-2027 Task 2: both answers of a pair are right."""
    reverse, pairs = _pairs(beside)
    right = (gold == answers).all(axis=1)
    pairs = pairs & ~np.isnan(gold).any(axis=1) & ~np.isnan(gold[reverse]).any(axis=1)
    return np.where(pairs, right & right[reverse], np.nan)


def _spread_agreement(gold: Matrix, answers: Matrix, beside: Beside) -> float:
    """SemEval-2027 Task 5: rho of the standard deviations within groups, as a mean over columns.

    Of groups with two annotated rows or more; NaN where all deviations are equal.
    """
    if beside.groups is None:
        raise KitError("sd_spearman needs the task's group key (data.group_column).")
    groups = np.asarray(beside.groups)
    agreements = []
    for truth, answer in zip(gold.T, answers.T, strict=True):
        annotated = ~np.isnan(truth)
        rows = [
            np.flatnonzero(annotated & (groups == group)) for group in np.unique(groups[annotated])
        ]
        spreads = [(truth[r].std(ddof=1), answer[r].std(ddof=1)) for r in rows if len(r) > 1]
        if not spreads:
            return math.nan
        agreements.append(spearman(*zip(*spreads, strict=True)))
    return mean_of(agreements)


def _pairs(beside: Beside) -> tuple[Matrix, Matrix]:
    if beside.reverse is None:
        raise KitError("soft_cons and hard_cons need each row's reverse (scoring.reverse_column).")
    return np.asarray(beside.reverse), np.asarray(beside.reverse) >= 0


def _of_rows(name: str, by_row: Callable[[Matrix, Matrix, Beside], Matrix]) -> Metric:
    def compute(gold: Matrix, answers: Matrix, beside: Beside) -> float:
        values = by_row(gold, answers, beside)
        counted = values[~np.isnan(values)]
        return float(counted.mean()) if len(counted) else 0.0

    return Metric(name, compute, by_row)


def _of_columns(name: str, measure: Callable[[Any, Any], float]) -> Metric:
    """The mean over columns of a measure of the rows that are annotated."""

    def compute(gold: Matrix, answers: Matrix, beside: Beside) -> float:
        annotated = ~np.isnan(gold)
        return mean_of(
            [
                measure(gold[rows, column].tolist(), answers[rows, column].tolist())
                for column, rows in enumerate(annotated.T)
            ]
        )

    return Metric(name, compute)


def _of_counts(name: str, measure: Callable[[Sequence[Counts]], float]) -> Metric:
    return Metric(name, lambda gold, answers, beside: measure(count_labels(gold, answers)))


def _root_mean_square(gold: Sequence[float], preds: Sequence[float]) -> float:
    gaps = np.asarray(gold, dtype=np.float64) - np.asarray(preds, dtype=np.float64)
    return float(np.sqrt(np.mean(gaps**2))) if len(gaps) else math.nan


def _mean_absolute(gold: Sequence[float], preds: Sequence[float]) -> float:
    gaps = np.asarray(gold, dtype=np.float64) - np.asarray(preds, dtype=np.float64)
    return float(np.mean(np.abs(gaps))) if len(gaps) else math.nan


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _of_counts("macro_f1", lambda counts: mean_of([c.f1 for c in counts])),
        _of_counts("micro_f1", lambda counts: pool_counts(counts).f1),
        _of_counts("weighted_precision", _weigh(lambda c: c.precision)),
        _of_counts("weighted_recall", _weigh(lambda c: c.recall)),
        _of_counts("weighted_f1", _weigh(lambda c: c.f1)),
        _of_columns("pearson_r", pearson),
        _of_columns("pearson", correlation),
        _of_columns("spearman", spearman),
        _of_columns("rmse", _root_mean_square),
        _of_columns("mae", _mean_absolute),
        Metric("sd_spearman", _spread_agreement),
        _of_rows("accuracy", _exact_rows),
        _of_rows("exact_match", _exact_rows),
        _of_rows("jaccard", _jaccard_rows),
        _of_rows("within_sd", _within_rows),
        _of_rows("jensen_shannon", _divergence_rows),
        _of_rows("soft_cons", _consistent_rows),
        _of_rows("hard_cons", _both_right_rows),
    )
}
"""Every metric of answers. `macro_auc` is not among them: it is one of probabilities."""
