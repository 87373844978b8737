"""A run as numbers: the one place that reads its files for tables, and scores its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.estimate import DEFAULT_METRIC
from semeval_kit.decision.oof import split_languages
from semeval_kit.decision.resampling import Board, find_interval
from semeval_kit.run.directory import OPEN_FIELDS, Run, read_json
from semeval_kit.show.answers import SPLITS, Answers, read_answers, shown_task
from semeval_kit.show.wording import Wording, find_wording, name_measure
from semeval_kit.submission.measure import find_beside_rows, is_unmet
from semeval_kit.submission.metrics import METRICS, Beside, count_labels, macro_auc
from semeval_kit.submission.upload import Upload, read_uploads
from semeval_kit.task.metric_facts import METRIC_FACTS
from semeval_kit.task.task import Task

Interval = tuple[float, float] | None
N_RESAMPLES = 1000


@dataclass(frozen=True)
class FoldResult:
    """One fold at its best epoch, as its history says (thresholds 0.5).

    Attributes:
        name: its number, and the seed of a further seed.
        best_epoch: the epoch that was kept; 0 for an encoder that was not fine-tuned.
        train_loss: mean loss over that epoch, None if there was none.
    """

    name: str
    best_epoch: int
    train_loss: float | None
    val_loss: float | None
    measures: dict[str, float]
    seconds: float
    peak_rss_mb: float


@dataclass(frozen=True)
class RunResults:
    """What tables say about a run.

    Attributes:
        resolved: what training made of fields that the recipe leaves open, by field.
        learnt_splits: the splits that models learn from, without one that is held out.
        member: "encoder", "linear", "frozen", "external" or "blend".
        encoder: as the recipe names it; of a member without any the kind of member.
        parameters: of one model; None if the folds do not say.
        trainable_parameters: those that training changes.
        target: of several the one that all this is about.
        metric: the headline metric, as task files spell it.
        estimate: what estimate.json says; empty if there is none.
        splits: split -> rule -> score; splits without gold labels are missing.
        official: what score.json says; empty if there is none.
        uploads: what the site said of its zips, oldest first.
        weights: what weights.json says of a blend; empty for other members.
    """

    name: str
    task: Task
    recipe: Mapping[str, Any]
    resolved: Mapping[str, Any]
    settings: Mapping[str, Any]
    learnt_splits: tuple[str, ...]
    member: str
    encoder: str
    parameters: int | None
    trainable_parameters: int | None
    target: str
    metric: str
    folds: tuple[FoldResult, ...]
    estimate: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, SplitResult]] = field(default_factory=dict)
    official: Mapping[str, Any] = field(default_factory=dict)
    uploads: tuple[Upload, ...] = ()
    weights: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wording(self) -> Wording:
        """How pages speak of this kind of task."""
        return find_wording(self.task)

    @property
    def metric_name(self) -> str:
        """The headline metric for people."""
        return name_measure(self.metric, self.task.kind)

    @property
    def low_is_better(self) -> bool:
        """Whether the headline metric is an error or a divergence."""
        return METRIC_FACTS[self.metric].low_is_better

    @property
    def seconds(self) -> float:
        """Time of all folds, one after the other."""
        return sum(fold.seconds for fold in self.folds)

    @property
    def peak_rss_mb(self) -> float:
        """Largest memory of a fold, MB."""
        return max(fold.peak_rss_mb for fold in self.folds)

    @property
    def test_score(self) -> float | None:
        """The headline metric of the zip as score.json has it, the mean over languages, or None."""
        if not self.official.get("accepted"):
            return None
        values = [part["metrics"].get(self.metric) for part in self.official["languages"]]
        return None if not values or None in values else sum(map(float, values)) / len(values)

    @property
    def uploaded(self) -> float | None:
        """The first score of the last upload that the site has scored, or None."""
        scored = [upload for upload in self.uploads if upload.scores]
        return next(iter(scored[-1].scores.values())) if scored else None

    def fold_values(self, name: str) -> list[float]:
        """A measure or loss of every fold that has it, at its best epoch."""
        values = [
            getattr(fold, name) if hasattr(fold, name) else fold.measures.get(name)
            for fold in self.folds
        ]
        return [float(value) for value in values if value is not None]

    def split_score(self, split: str, rule: str = "tuned") -> SplitResult | None:
        """The score of a split by a rule, or None."""
        return self.splits.get(split, {}).get(rule)

    @property
    def expected(self) -> Mapping[str, Any]:
        """What the upload will score: score, low, high, languages; empty where it is not foretold.

        Runs of older versions have no such figure: for them it is the cross-fitted one.
        """
        foretold: Mapping[str, Any] | None = self.estimate.get("expected")
        if foretold is None:
            return self.reading("cross_fitted")
        return {} if foretold["withheld"] or foretold["score"] is None else foretold

    @property
    def learnt(self) -> bool:
        """Whether the model has learnt the task, as far as `tune` could see."""
        return bool((self.estimate.get("verdict") or {}).get("learnt", True))

    @property
    def alarms(self) -> tuple[str, ...]:
        """Why not to upload: the model has not learnt, or new rows are unlike those known."""
        foretold = self.estimate.get("expected") or {}
        alarms = []
        if not self.learnt:
            reasons = "; ".join(self.estimate["verdict"]["reasons"])
            alarms.append(f"This model has not learnt the task: {reasons}.")
        if foretold.get("withheld"):
            alarms.append(
                f"The {foretold['split']} rows differ from the training rows and "
                f"{foretold['withheld']}: no score is foretold."
            )
        alarms += [
            f"{drift['language']} '{drift['label']}': {100 * drift['oof_rate']:.1f}% of the "
            f"out-of-fold rows are called positive, but {100 * drift['test_rate']:.1f}% of the "
            f"{foretold['split']} rows."
            for drift in foretold.get("drifts") or ()
            if drift["notable"]
        ]
        return tuple(alarms)

    def reading(self, name: str) -> Mapping[str, Any]:
        """A part of estimate.json: "at_half", "tuned_in_sample" or "cross_fitted"; or empty."""
        part: Mapping[str, Any] = self.estimate.get(name, {})
        return part


def read_results(
    run: Run,
    splits: Sequence[str] = SPLITS,
    *,
    answers: Mapping[str, Answers | None] | None = None,
    n_resamples: int = N_RESAMPLES,
    by_label: bool = True,
) -> RunResults:
    """Read a finished run.

    Args:
        run: with all folds done.
        splits: which of "oof", "dev" and "test" to score.
        answers: per split, if they have been read already.
        n_resamples: bootstraps per interval; 0 leaves intervals out.
        by_label: whether single labels have intervals too.

    Raises:
        KitError: a stage has not run, or the data folder has changed since.
    """
    task, weights_file = shown_task(run), run.path / "weights.json"
    done = [run.read_done(model) for model in range(run.n_models)]
    given = {split: answers[split] for split in splits if answers and split in answers}
    given |= {split: read_answers(run, split) for split in splits if split not in given}
    scores = {
        split: {
            rule: score_answers(task, own, rule, n_resamples=n_resamples, by_label=by_label)
            for rule in ("half", "tuned")
        }
        for split in splits
        if (own := given[split]) is not None
    }
    metric = headline_metric(task)
    estimate = read_json(run.estimate_file) if run.estimate_file.is_file() else {}
    if "oof" in scores and estimate.get("metric") == metric:
        scores["oof"] = _quote_estimate(scores["oof"], estimate, with_interval=n_resamples > 0)
    return RunResults(
        name=run.name,
        task=task,
        recipe={**dict.fromkeys(OPEN_FIELDS), **run.recipe},
        resolved={
            field: done[0][key]
            for field, key in zip(OPEN_FIELDS, ("peak_lr", *OPEN_FIELDS[1:]), strict=True)
            if done[0].get(key) is not None
        },
        settings=run.settings,
        learnt_splits=run.learnt_splits,
        member=str(run.settings.get("member", "encoder")),
        encoder=str(run.recipe.get("encoder") or run.settings.get("member", "")),
        parameters=done[0].get("parameters"),
        trainable_parameters=done[0].get("trainable_parameters"),
        target=run.task.main_targets[0].name,
        metric=metric,
        folds=tuple(_read_fold(run, model, done[model]) for model in range(run.n_models)),
        estimate=estimate,
        splits=scores,
        official=read_json(run.score_file) if run.score_file.is_file() else {},
        weights=read_json(weights_file) if weights_file.is_file() else {},
        uploads=tuple(read_uploads(run.path / "uploads.jsonl")),
    )


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
        measures: metric -> mean over languages.
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


def headline_metric(task: Task) -> str:
    """The first metric that ranks and that answers to the task can be scored by, as in `tune`."""
    fitting = (
        name
        for name in task.scoring.metrics
        if name in METRICS and task.kind in METRIC_FACTS[name].kinds
    )
    return next(fitting, DEFAULT_METRIC[task.kind])


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
) -> SplitResult:
    """Score the answers of a run on a split."""
    scored = scored_labels(task)
    beside = find_beside_rows(task, task.main_targets[0], answers.examples)
    bench = _Bench(task, answers, answers.preds(rule), n_resamples, seed, beside)
    metric = headline_metric(task)
    rows_of = split_languages(answers.examples.languages)
    columns = {  # those that a language has and that count
        code: np.flatnonzero(scored & ~np.isnan(answers.gold[rows]).all(axis=0))
        for code, rows in rows_of.items()
    }
    values = {
        name: {code: bench.measure(name, rows, columns[code]) for code, rows in rows_of.items()}
        for name in dict.fromkeys((metric, *find_wording(task).measures))
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
    preds: NDArray[np.int64]
    n_resamples: int
    seed: int
    beside: Beside

    def measure(self, name: str, rows: NDArray[np.int64], columns: NDArray[np.intp]) -> float:
        cells = np.ix_(rows, columns)
        if name == "macro_auc":
            return macro_auc(self.answers.gold[cells], self.answers.probs.values[cells])
        beside = self.beside
        if is_unmet(name, beside):  # the split's files say no more than gold
            return float("nan")
        gold, preds = self.answers.gold[cells], self.preds[cells]
        return METRICS[name](gold, preds, beside=beside.take(rows))

    def score_label(self, column: int) -> LabelResult:
        gold, label = self.answers.gold, self.task.all_labels[column]
        rows_of = [
            rows
            for rows in split_languages(self.answers.examples.languages).values()
            if not np.isnan(gold[rows, column]).all()
        ]
        everything = np.sort(np.concatenate(rows_of))
        cells = [(gold[rows][:, [column]], self.preds[rows][:, [column]]) for rows in rows_of]
        alone = np.arange(gold.shape[1]) == column
        metric = find_wording(self.task).label_metric
        interval = self.bootstrap(metric, alone, everything)
        if metric != "macro_f1":
            score = float(np.mean([METRICS[metric](*pair) for pair in cells]))
            return LabelResult(label, self.count_positives(column), score, interval)
        counts = [count_labels(*pair)[0] for pair in cells]
        f1, precision, recall = (
            float(np.mean([getattr(count, name) for count in counts]))
            for name in ("f1", "precision", "recall")
        )
        positives = self.count_positives(column)
        return LabelResult(label, positives, f1, interval, precision, recall)

    def count_positives(self, column: int) -> int | None:
        if find_wording(self.task).numeric:
            return None
        return int((self.answers.gold[:, column] > 0).sum())

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
        drawn = board.resample([self.preds[rows]], self.n_resamples, self.seed)
        return find_interval(drawn[:, 0])


def _quote_estimate(
    scores: Mapping[str, SplitResult], estimate: Mapping[str, Any], *, with_interval: bool
) -> dict[str, SplitResult]:
    """The same with the figures of the estimate: one figure has one interval, one set of digits."""
    quoted = {}
    for rule, name in (("half", "at_half"), ("tuned", "cross_fitted")):
        own, reading = scores[rule], estimate[name]
        quoted[rule] = replace(
            own,
            measures={**own.measures, own.metric: float(reading["score"])},
            languages={code: float(value) for code, value in reading["languages"].items()},
            interval=(reading["low"], reading["high"]) if with_interval else None,
        )
    return quoted


def _read_fold(run: Run, fold: int, done: Mapping[str, Any]) -> FoldResult:
    best = int(done.get("best_epoch", 0))
    epochs = {entry.get("epoch"): entry for entry in reversed(run.read_history(fold))}
    kept = epochs.get(best, {})
    return FoldResult(
        name=run.name_model(fold).removeprefix("fold "),
        best_epoch=best,
        train_loss=kept.get("train_loss"),
        val_loss=kept.get("val_loss"),
        measures={
            name: float(kept[name])
            for name in (*METRIC_FACTS, "subset_accuracy")
            if kept.get(name) is not None
        },
        seconds=float(done.get("seconds", 0.0)),
        peak_rss_mb=float(done.get("peak_rss_mb", 0.0)),
    )
