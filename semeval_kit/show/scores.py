"""Answers of a run scored on a split: every measure, per language and per label."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.estimate import choose_metric
from semeval_kit.decision.oof import IntArray, split_languages
from semeval_kit.decision.resampling import Board, find_interval
from semeval_kit.show.answers import Answers
from semeval_kit.show.wording import find_wording
from semeval_kit.submission.metrics import METRICS, Beside, count_labels, macro_auc
from semeval_kit.submission.score import find_beside_rows, is_unmet
from semeval_kit.task.metric_facts import METRIC_FACTS
from semeval_kit.task.task import Task

Interval = tuple[float, float] | None
N_RESAMPLES = 1000


@dataclass(frozen=True)
class LabelResult:
    """One label on one split, as the mean over the languages that have it.

    Attributes:
        positives: gold rows that have it, over all languages; None for numbers.
        score: F1, Pearson's r for intensities, for numbers as the wording says.
        interval: 95% interval of the score by group bootstrap.
        precision: None where there is no F1.
    """

    label: str
    positives: int | None
    score: float
    interval: Interval
    precision: float | None = None
    recall: float | None = None


@dataclass(frozen=True)
class SplitResult:
    """A run on one split.

    Attributes:
        split: "oof", "dev" or "test".
        rule: "half" (0.5, argmax) or "tuned".
        n_groups: groups of copies, the unit of the bootstrap.
        measures: metric -> mean over languages; the headline metric is first.
        interval: 95% interval of the headline metric by group bootstrap.
    """

    split: str
    rule: str
    n_examples: int
    n_groups: int
    metric: str
    measures: dict[str, float]
    interval: Interval
    languages: dict[str, float]
    labels: tuple[LabelResult, ...]

    @property
    def score(self) -> float:
        """The headline metric."""
        return self.measures[self.metric]


def score_answers(
    task: Task,
    answers: Answers,
    rule: str,
    *,
    n_resamples: int = N_RESAMPLES,
    by_label: bool = True,
) -> SplitResult:
    """Score the answers of a run on a split."""
    scored = np.array(task.scoring.counted(task.all_labels))
    beside = find_beside_rows(task, task.main_targets[0], answers.examples)
    bench = _Bench(task, answers, answers.preds(rule), n_resamples, beside)
    metric = choose_metric(task)
    rows_of = split_languages(answers.examples.languages)
    columns = {  # those that a language has and that count
        code: np.flatnonzero(scored & ~np.isnan(answers.gold[rows]).all(axis=0))
        for code, rows in rows_of.items()
    }
    values = {
        name: {code: bench.measure(name, rows, columns[code]) for code, rows in rows_of.items()}
        for name in dict.fromkeys((metric, *find_wording(task).measures, *task.metrics_of()))
    }
    by_label_bench = replace(bench, n_resamples=n_resamples * by_label)
    return SplitResult(
        split=answers.split,
        rule=rule,
        n_examples=len(answers),
        n_groups=len(set(answers.groups)),
        metric=metric,
        measures={name: float(np.mean(list(means.values()))) for name, means in values.items()},
        interval=bench.bootstrap(metric, scored, np.arange(len(answers))),
        languages=values[metric],
        labels=tuple(
            by_label_bench.score_label(column)
            for column in range(len(task.all_labels))
            if not np.isnan(answers.gold[:, column]).all()
        ),
    )


@dataclass(frozen=True)
class _Bench:
    """Answers decided by a rule, and how often they are resampled."""

    task: Task
    answers: Answers
    preds: IntArray
    n_resamples: int
    beside: Beside

    def measure(self, name: str, rows: IntArray, columns: NDArray[np.intp]) -> float:
        cells = np.ix_(rows, columns)
        if name == "macro_auc":
            return macro_auc(self.answers.gold[cells], self.answers.probs.values[cells])
        beside = self.beside
        if is_unmet(name, beside):  # the split's files say no more than gold
            return float("nan")
        gold, preds = self.answers.gold[cells], self.preds_for(name)[cells]
        return METRICS[name](gold, preds, beside=beside.take(rows))

    def preds_for(self, name: str) -> IntArray:
        """The preds that a metric is measured on.

        Out of fold every part has a line of its own, and to rank the answers of several parts
        together measures the lines. One that ignores a line is measured on the numbers as they are.
        """
        is_lined = self.answers.split == "oof" and self.task.kind == "regression"
        free = is_lined and name in METRIC_FACTS and METRIC_FACTS[name].scale_free
        return self.answers.half if free else self.preds

    def score_label(self, column: int) -> LabelResult:
        gold, label = self.answers.gold, self.task.all_labels[column]
        rows_of = [
            rows
            for rows in split_languages(self.answers.examples.languages).values()
            if not np.isnan(gold[rows, column]).all()
        ]
        everything = np.sort(np.concatenate(rows_of))
        metric = find_wording(self.task).label_metric
        preds = self.preds_for(metric)
        cells = [(gold[rows][:, [column]], preds[rows][:, [column]]) for rows in rows_of]
        alone = np.arange(gold.shape[1]) == column
        interval = self.bootstrap(metric, alone, everything)
        positives = None if find_wording(self.task).numeric else int((gold[:, column] > 0).sum())
        if metric != "macro_f1":
            score = float(np.mean([METRICS[metric](*pair) for pair in cells]))
            return LabelResult(label, positives, score, interval)
        counts = [count_labels(*pair)[0] for pair in cells]
        f1, precision, recall = (
            float(np.mean([getattr(count, name) for count in counts]))
            for name in ("f1", "precision", "recall")
        )
        return LabelResult(label, positives, f1, interval, precision, recall)

    def bootstrap(self, name: str, scored: NDArray[np.bool_], rows: NDArray[np.intp]) -> Interval:
        """The 95% interval of a metric on some rows, over groups of equal texts."""
        if self.n_resamples < 1 or name == "macro_auc" or is_unmet(name, self.beside):
            return None
        board = Board.of(
            name,
            self.answers.gold[rows],
            [self.answers.examples.languages[row] for row in rows],
            scored,
            np.array(self.answers.groups, dtype=np.int64)[rows],
        )
        board = replace(board, beside=self.beside.take(rows))
        drawn = board.resample([self.preds_for(name)[rows]], self.n_resamples, seed=0)
        return find_interval(drawn[:, 0])
