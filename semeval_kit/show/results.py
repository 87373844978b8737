"""A run as numbers: the one place that reads its files for tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from semeval_kit.run.directory import Run, read_json
from semeval_kit.show.answers import SPLITS, Answers, read_answers
from semeval_kit.show.scores import N_RESAMPLES, SplitScore, headline_metric, score_answers
from semeval_kit.task.task import Task


@dataclass(frozen=True)
class FoldResult:
    """One fold at its best epoch, as its history says (thresholds 0.5).

    Attributes:
        fold: its number.
        best_epoch: the epoch that was kept; 0 for an encoder that was not fine-tuned.
        train_loss: mean loss over that epoch, None if there was none.
        val_loss: loss on the held-out rows.
        measures: metrics of that epoch.
        seconds: of the whole fold.
        peak_rss_mb: largest resident memory, MB.
    """

    fold: int
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
        name: of the run.
        task: its task.
        recipe: hyperparameters by name.
        settings: what run.json says.
        encoder: as the recipe names it.
        parameters: of one model; None if the folds do not say.
        trainable_parameters: those that training changes.
        metric: the headline metric, as task files spell it.
        folds: one per fold.
        estimate: what estimate.json says; empty if there is none.
        splits: split -> rule -> score; splits without gold labels are missing.
        official: what score.json says; empty if there is none.
    """

    name: str
    task: Task
    recipe: Mapping[str, Any]
    settings: Mapping[str, Any]
    encoder: str
    parameters: int | None
    trainable_parameters: int | None
    metric: str
    folds: tuple[FoldResult, ...]
    estimate: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, SplitScore]] = field(default_factory=dict)
    official: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Time of all folds, one after the other."""
        return sum(fold.seconds for fold in self.folds)

    @property
    def peak_rss_mb(self) -> float:
        """Largest memory of a fold, MB."""
        return max(fold.peak_rss_mb for fold in self.folds)

    def fold_values(self, name: str) -> list[float]:
        """A measure or loss of every fold that has it, at its best epoch."""
        found = [
            getattr(fold, name) if hasattr(fold, name) else fold.measures.get(name)
            for fold in self.folds
        ]
        return [float(value) for value in found if value is not None]

    def split_score(self, split: str, rule: str = "tuned") -> SplitScore | None:
        """The score of a split by a rule, or None."""
        return self.splits.get(split, {}).get(rule)

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
    done = [run.read_done(fold) for fold in range(run.n_folds)]
    metric = headline_metric(run.task)
    estimate = read_json(run.estimate_file) if run.estimate_file.is_file() else {}
    scores = {}
    for split in splits:
        found = answers[split] if answers and split in answers else read_answers(run, split)
        if found is not None:
            scores[split] = {
                rule: score_answers(
                    run.task, found, rule, n_resamples=n_resamples, by_label=by_label
                )
                for rule in ("half", "tuned")
            }
    if "oof" in scores and n_resamples and estimate.get("metric") == metric:
        # One figure has one interval: that of the estimate.
        for rule, name in (("half", "at_half"), ("tuned", "cross_fitted")):
            ends = (estimate[name]["low"], estimate[name]["high"])
            scores["oof"][rule] = replace(scores["oof"][rule], interval=ends)
    return RunResults(
        name=run.name,
        task=run.task,
        recipe=run.recipe,
        settings=run.settings,
        encoder=str(run.recipe["encoder"]),
        parameters=done[0].get("parameters"),
        trainable_parameters=done[0].get("trainable_parameters"),
        metric=metric,
        folds=tuple(_read_fold(run, fold, done[fold]) for fold in range(run.n_folds)),
        estimate=estimate,
        splits=scores,
        official=read_json(run.score_file) if run.score_file.is_file() else {},
    )


def _read_fold(run: Run, fold: int, done: Mapping[str, Any]) -> FoldResult:
    best = int(done.get("best_epoch", 0))
    entries = [entry for entry in run.read_history(fold) if entry.get("epoch") == best]
    entry = entries[0] if entries else {}
    measures = {
        name: float(value)
        for name, value in entry.items()
        if name in _HISTORY_MEASURES and value is not None
    }
    return FoldResult(
        fold=fold,
        best_epoch=best,
        train_loss=entry.get("train_loss"),
        val_loss=entry.get("val_loss"),
        measures=measures,
        seconds=float(done.get("seconds", 0.0)),
        peak_rss_mb=float(done.get("peak_rss_mb", 0.0)),
    )


_HISTORY_MEASURES = ("macro_f1", "micro_f1", "weighted_f1", "subset_accuracy")
