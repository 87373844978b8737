"""Scores of a run's answers on one split, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.oof import split_languages
from semeval_kit.decision.resampling import Board, find_interval
from semeval_kit.show.answers import Answers
from semeval_kit.submission.metrics import METRICS, count_labels, macro_auc, pearson_by_label
from semeval_kit.task.task import Task

Interval = tuple[float, float] | None

MEASURES = {
    "multilabel": ("macro_f1", "micro_f1", "accuracy", "jaccard"),
    "singlelabel": (
        "accuracy",
        "weighted_precision",
        "weighted_recall",
        "weighted_f1",
        "macro_f1",
        "macro_auc",
    ),
    "intensity": ("pearson_r",),
}
N_RESAMPLES = 1000


@dataclass(frozen=True)
class LabelScore:
    """One label on one split, as the mean over the languages that have it.

    Attributes:
        label: its name.
        positives: gold rows that have it, over all languages.
        score: F1, or Pearson's r for intensities.
        interval: 95% interval of the score by group bootstrap.
        precision: None for intensities.
        recall: None for intensities.
    """

    label: str
    positives: int
    score: float
    interval: Interval
    precision: float | None = None
    recall: float | None = None


@dataclass(frozen=True)
class SplitScore:
    """A run on one split.

    Attributes:
        split: "oof", "dev" or "test".
        rule: "half" (0.5, argmax) or "tuned".
        n_examples: rows.
        n_groups: groups of copies, the unit of the bootstrap.
        metric: name of the headline metric.
        measures: metric -> mean over languages.
        interval: 95% interval of the headline metric by group bootstrap.
        languages: headline metric per language.
        labels: one per label.
    """

    split: str
    rule: str
    n_examples: int
    n_groups: int
    metric: str
    measures: dict[str, float]
    interval: Interval
    languages: dict[str, float]
    labels: tuple[LabelScore, ...]

    @property
    def score(self) -> float:
        """The headline metric."""
        return self.measures[self.metric]


def headline_metric(task: Task) -> str:
    """The metric that ranks, or the first of the kind that has an interval."""
    candidates = (*task.scoring.metrics, *MEASURES[task.kind])
    return next(name for name in candidates if name in METRICS)


def scored_labels(task: Task) -> NDArray[np.bool_]:
    """`(L,)`: which labels count in the score."""
    excluded = task.scoring.excluded_labels
    return np.array([label not in excluded for label in task.all_labels], dtype=bool)


def score_answers(
    task: Task,
    answers: Answers,
    rule: str,
    *,
    n_resamples: int = N_RESAMPLES,
    by_label: bool = True,
    seed: int = 0,
) -> SplitScore:
    """Score the answers of a run on a split.

    Args:
        task: metrics, and the labels that count.
        answers: of one split.
        rule: "half" or "tuned".
        n_resamples: bootstraps per interval; 0 leaves intervals out.
        by_label: whether single labels have intervals too.
        seed: of the bootstraps.
    """
    preds = answers.preds(rule)
    metric = headline_metric(task)
    rows_of = split_languages(answers.examples.languages)
    columns = {code: _columns(task, answers, rows) for code, rows in rows_of.items()}
    measures = {}
    for name in dict.fromkeys((metric, *MEASURES[task.kind])):
        values = [
            _measure(name, answers, preds, rows, columns[code]) for code, rows in rows_of.items()
        ]
        measures[name] = float(np.mean(values))
    languages = {
        code: _measure(metric, answers, preds, rows, columns[code])
        for code, rows in rows_of.items()
    }
    return SplitScore(
        split=answers.split,
        rule=rule,
        n_examples=len(answers),
        n_groups=len(set(answers.groups)),
        metric=metric,
        measures=measures,
        interval=_interval(
            metric, answers, preds, scored_labels(task), np.arange(len(preds)), n_resamples, seed
        ),
        languages=languages,
        labels=tuple(
            _score_label(task, answers, preds, column, n_resamples * by_label, seed)
            for column in range(len(task.all_labels))
            if not np.isnan(answers.gold[:, column]).all()
        ),
    )


def _score_label(
    task: Task,
    answers: Answers,
    preds: NDArray[np.int64],
    column: int,
    n_resamples: int,
    seed: int,
) -> LabelScore:
    gold = answers.gold
    rows_of = {
        code: rows
        for code, rows in split_languages(answers.examples.languages).items()
        if not np.isnan(gold[rows, column]).all()
    }
    alone = np.arange(gold.shape[1]) == column
    everything = np.sort(np.concatenate(list(rows_of.values())))
    intensity = task.kind == "intensity"
    name = "pearson_r" if intensity else "macro_f1"
    interval = _interval(name, answers, preds, alone, everything, n_resamples, seed)
    positives = int((gold[everything, column] > 0).sum())
    cells = [(gold[r, column][:, None], preds[r, column][:, None]) for r in rows_of.values()]
    if intensity:
        score = float(np.mean([pearson_by_label(*pair)[0] for pair in cells]))
        return LabelScore(task.all_labels[column], positives, score, interval)
    counts = [count_labels(*pair)[0] for pair in cells]
    return LabelScore(
        task.all_labels[column],
        positives,
        float(np.mean([count.f1 for count in counts])),
        interval,
        float(np.mean([count.precision for count in counts])),
        float(np.mean([count.recall for count in counts])),
    )


def _measure(
    name: str,
    answers: Answers,
    preds: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.intp],
) -> float:
    gold = answers.gold[np.ix_(rows, columns)]
    if name == "macro_auc":
        return macro_auc(gold, answers.probs.values[np.ix_(rows, columns)])
    return METRICS[name](gold, preds[np.ix_(rows, columns)])


def _columns(task: Task, answers: Answers, rows: NDArray[np.int64]) -> NDArray[np.intp]:
    """The columns that a language has and that count."""
    return np.flatnonzero(scored_labels(task) & ~np.isnan(answers.gold[rows]).all(axis=0))


def _interval(
    name: str,
    answers: Answers,
    preds: NDArray[np.int64],
    scored: NDArray[np.bool_],
    rows: NDArray[np.int64],
    n_resamples: int,
    seed: int,
) -> Interval:
    if n_resamples < 1:
        return None
    board = Board.of(
        name,
        answers.gold[rows],
        [answers.examples.languages[row] for row in rows],
        scored,
        np.array(answers.groups, dtype=np.int64)[rows],
    )
    return find_interval(board.resample([preds[rows]], n_resamples, seed)[:, 0])
