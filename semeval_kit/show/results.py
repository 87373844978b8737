"""A run as numbers: the one place that reads its files for tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from semeval_kit.decision.estimate import choose_metric
from semeval_kit.files import read_json
from semeval_kit.run.directory import Run
from semeval_kit.run.layout import OPEN_FIELDS
from semeval_kit.show.answers import ANSWERED, AnswersBySplit, read_answers, shown_task
from semeval_kit.show.scores import N_RESAMPLES, SplitResult, score_answers
from semeval_kit.show.wording import Wording, find_wording, name_measure
from semeval_kit.submission.upload import Upload, read_uploads
from semeval_kit.task.metric_facts import METRIC_FACTS, NUMERIC
from semeval_kit.task.task import Task


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
        target_kinds: of every target that the run predicts.
        metric: the headline metric, as task files spell it.
        estimate: what estimate.json says; empty if there is none.
        splits: split -> rule -> score; splits without gold labels are missing.
        official: what score.json says; empty if there is none.
        uploads: what the site said of its zips, oldest first.
        weights: what weights.json says of a blend; empty for other members.
        constants: of numbers and levels, split -> the score of the same answer for every row, which
            the training rows chose; splits that were learnt from or held out are missing.
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
    target_kinds: Mapping[str, str]
    metric: str
    folds: tuple[FoldResult, ...]
    estimate: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, SplitResult]] = field(default_factory=dict)
    official: Mapping[str, Any] = field(default_factory=dict)
    uploads: tuple[Upload, ...] = ()
    weights: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)

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
        """Why not to upload: the model has not learnt, a constant is no worse, or rows are new."""
        foretold = self.estimate.get("expected") or {}
        alarms = []
        if not self.learnt:
            reasons = "; ".join(self.estimate["verdict"]["reasons"])
            alarms.append(f"This model has not learnt the task: {reasons}.")
        alarms += [line for split in self.constants if (line := self.describe_constant(split))]
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

    def describe_constant(self, split: str) -> str:
        """That the same answer for every row of a split scores no worse; empty where it does."""
        score = self.split_score(split)
        if score is None or split not in self.constants:
            return ""
        sign, constant = -1 if self.low_is_better else 1, self.constants[split]
        if sign * (score.score - constant) > 0:
            return ""
        floor = _find_constant(self.estimate)
        answer = ", ".join(f"{label} {value:.3g}" for label, value in floor["answer"].items())
        return (
            f"On {split} {floor['name']} ({answer}) scores {constant:.4f}, this run "
            f"{score.score:.4f}: by {self.metric_name} an upload would gain nothing over it."
        )

    def reading(self, name: str) -> Mapping[str, Any]:
        """A part of estimate.json: "at_half", "tuned_in_sample" or "cross_fitted"; or empty."""
        part: Mapping[str, Any] = self.estimate.get(name, {})
        return part


def read_results(
    run: Run,
    splits: Sequence[str] = ANSWERED,
    *,
    answers: AnswersBySplit | None = None,
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
    task, weights_file = shown_task(run), run.weights_file
    done = [run.read_done(model) for model in range(run.n_models)]
    read = answers or {}
    given = {split: read[split] if split in read else read_answers(run, split) for split in splits}
    scores = {
        split: {
            rule: score_answers(task, answered, rule, n_resamples=n_resamples, by_label=by_label)
            for rule in ("half", "tuned")
        }
        for split in splits
        if (answered := given[split]) is not None
    }
    metric = choose_metric(task)
    estimate = read_json(run.estimate_file) if run.estimate_file.is_file() else {}
    if "oof" in scores and estimate.get("metric") == metric:
        scores["oof"] = _quote_estimate(scores["oof"], estimate, with_interval=n_resamples > 0)
    return RunResults(
        name=run.name,
        task=task,
        recipe={**dict.fromkeys(OPEN_FIELDS if run.member == "encoder" else ()), **run.recipe},
        resolved={
            field: done[0][key]
            for field, key in zip(OPEN_FIELDS, ("peak_lr", *OPEN_FIELDS[1:]), strict=True)
            if done[0].get(key) is not None
        },
        settings=run.settings,
        learnt_splits=run.learnt_splits,
        member=run.member,
        encoder=str(run.recipe.get("encoder") or run.settings.get("member", "")),
        parameters=done[0].get("parameters"),
        trainable_parameters=done[0].get("trainable_parameters"),
        target=run.task.main_targets[0].name,
        target_kinds={target.name: target.kind for target in run.task.main_targets},
        metric=metric,
        folds=tuple(_read_fold(run, model, done[model]) for model in range(run.n_models)),
        estimate=estimate,
        splits=scores,
        official=read_json(run.score_file) if run.score_file.is_file() else {},
        weights=read_json(weights_file) if weights_file.is_file() else {},
        constants=_score_constants(
            task, estimate, {s: given[s] for s in given if s not in run.learnt_splits}
        ),
        uploads=tuple(read_uploads(run.path / "uploads.jsonl")),
    )


def _find_constant(estimate: Mapping[str, Any]) -> Mapping[str, Any]:
    """The floor that is the same answer for every row; empty where none was kept."""
    floors = (estimate.get("verdict") or {}).get("floors") or ()
    return next((floor for floor in floors if floor.get("answer")), {})


def _score_constants(
    task: Task, estimate: Mapping[str, Any], given: AnswersBySplit
) -> dict[str, float]:
    """What that answer scores on dev and test."""
    floor = _find_constant(estimate)
    if not floor or task.kind not in (*NUMERIC, "intensity"):
        return {}
    constant = [floor["answer"][label] for label in task.all_labels]
    scores = {}
    for split, answers in given.items():
        if split != "oof" and answers is not None:
            same = replace(answers, tuned=np.tile(constant, (len(answers), 1)))
            scored = score_answers(task, same, "tuned", n_resamples=0, by_label=False)
            if not np.isnan(scored.score):
                scores[split] = scored.score
    return scores


def find_history_metric(task: Task, histories: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """The column of the folds' histories that is nearest to the task's score."""
    metric = choose_metric(task)
    kept = {key for history in histories for row in history for key in row}
    wanted = (metric, {"accuracy": "subset_accuracy"}.get(metric, ""), "macro_f1")
    return next((name for name in wanted if name in kept), metric)


def _quote_estimate(
    scores: Mapping[str, SplitResult], estimate: Mapping[str, Any], *, with_interval: bool
) -> dict[str, SplitResult]:
    """The same with the figures of the estimate: one figure has one interval, one set of digits."""
    quoted = {}
    for rule, name in (("half", "at_half"), ("tuned", "cross_fitted")):
        scored, reading = scores[rule], estimate[name]
        quoted[rule] = replace(
            scored,
            measures={**scored.measures, scored.metric: float(reading["score"])},
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
