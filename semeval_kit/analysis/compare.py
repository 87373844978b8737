"""Runs side by side: scores with intervals, and a paired test against the best run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from semeval_kit.analysis.answers import Answers, read_answers
from semeval_kit.analysis.comparison import Entry, RunComparison, train_splits
from semeval_kit.analysis.results import RunResults, read_results
from semeval_kit.analysis.scores import RESAMPLED, scored_labels
from semeval_kit.decision.intervals import Comparison, compare_systems
from semeval_kit.errors import KitError
from semeval_kit.run import Run

SPLITS = ("oof", "dev")
# What a table can be sorted by, and whether larger values come first.
SORTS = {
    "score": True,
    "run": False,
    "encoder": False,
    "parameters": True,
    "train_loss": False,
    "val_loss": False,
    "seconds": False,
    "peak_rss_mb": False,
}


def compare_runs(
    runs: Sequence[Run],
    split: str = "oof",
    *,
    sort: str = "score",
    seed: int = 0,
    n_resamples: int = 2000,
    n_shuffles: int = 10_000,
    tell: Callable[[str], None] | None = None,
) -> RunComparison:
    """Compare finished runs with the best of those that have the same task and metric.

    Args:
        runs: at least one.
        split: "oof" (cross-fitted thresholds) or "dev" (mean over folds, the run's thresholds).
        sort: one of SORTS.
        seed: of bootstraps and shuffles.
        n_resamples: bootstraps per interval.
        n_shuffles: shuffles per p-value.
        tell: called with the name of each run before it is read.

    Raises:
        KitError: a run is not finished, two have the same name, or one has no gold for the split.
    """
    _check_request(runs, split, sort)
    read = []
    for run in runs:
        if tell:
            tell(run.name)
        answers = read_answers(run, split)
        if answers is None:
            raise KitError(f"{run.path}: no answers with gold labels for {split}. Use --split oof.")
        known = {split: answers}
        results = read_results(run, [split], answers=known, n_resamples=n_resamples, by_label=False)
        read.append((results, answers))
    leaders: dict[tuple[str, str], tuple[RunResults, Answers]] = {}
    for results, answers in read:
        group = (results.task.name, results.metric)
        best = leaders.get(group)
        if best is None or _score(results, split)[0] > _score(best[0], split)[0]:
            leaders[group] = (results, answers)
    entries = [
        _enter(
            results, answers, leaders[results.task.name, results.metric],
            split, n_resamples, n_shuffles, seed,
        )
        for results, answers in read
    ]  # fmt: skip
    ordered = _sort(entries, sort)
    return RunComparison(split, tuple(ordered), _notes(ordered, split, len(leaders)))


def measure_difference(
    results: RunResults,
    answers: Answers,
    other: Answers,
    *,
    n_resamples: int = 2000,
    n_shuffles: int = 10_000,
    seed: int = 0,
) -> Comparison | str:
    """Compare a run's tuned answers with another's on the same rows, or say why that cannot be."""
    if answers.examples.label_names != other.examples.label_names:
        return "other labels"
    row_of = {key: row for row, key in enumerate(other.keys)}
    shared = sum(key in row_of for key in answers.keys)
    if shared != len(answers) or len(other) != len(answers):
        return f"other rows ({shared} of {len(answers)} shared)"
    rows = np.array([row_of[key] for key in answers.keys])
    if not np.array_equal(answers.gold, other.gold[rows], equal_nan=True):
        return "other gold labels"
    return compare_systems(
        RESAMPLED[results.metric],
        answers.gold,
        answers.tuned,
        other.tuned[rows],
        answers.examples.languages,
        scored=scored_labels(results.task),
        groups=answers.groups,
        n_resamples=n_resamples,
        n_shuffles=n_shuffles,
        seed=seed,
    )


def _check_request(runs: Sequence[Run], split: str, sort: str) -> None:
    if not runs:
        raise KitError("compare: no run given. Name at least one folder under submissions/.")
    if split not in SPLITS:
        raise KitError(f"compare: split '{split}' is unknown. Choose one of {', '.join(SPLITS)}.")
    if sort not in SORTS:
        raise KitError(f"compare: cannot sort by '{sort}'. Choose one of {', '.join(SORTS)}.")
    names = [run.name for run in runs]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise KitError(f"compare: run {double[0]} is given twice. Give each run once.")


def _score(results: RunResults, split: str) -> tuple[float, float | None, float | None]:
    """The headline score with its interval: from estimate.json where that has it."""
    reading = results.reading("cross_fitted") if split == "oof" else {}
    if reading and results.estimate.get("metric") == RESAMPLED[results.metric]:
        return float(reading["score"]), float(reading["low"]), float(reading["high"])
    tuned = results.split_score(split)
    if tuned is None:
        raise KitError(f"run {results.name}: there is no score for {split}.")
    low, high = tuned.interval or (None, None)
    return tuned.score, low, high


def _enter(
    results: RunResults,
    answers: Answers,
    leader: tuple[RunResults, Answers],
    split: str,
    n_resamples: int,
    n_shuffles: int,
    seed: int,
) -> Entry:
    best, best_answers = leader
    found: Comparison | str = "the best"
    if best.name != results.name:
        found = measure_difference(
            results, answers, best_answers,
            n_resamples=n_resamples, n_shuffles=n_shuffles, seed=seed,
        )  # fmt: skip
    score, low, high = _score(results, split)
    half = results.split_score(split, "half")
    return Entry(
        results=results,
        split=split,
        score=score,
        low=low,
        high=high,
        at_half=half.score if half else float("nan"),
        labels=_label_scores(results, split, "tuned"),
        labels_at_half=_label_scores(results, split, "half"),
        best=best.name,
        versus_best=None if isinstance(found, str) else found,
        no_test_because=found if isinstance(found, str) else "",
    )


def _label_scores(results: RunResults, split: str, rule: str) -> dict[str, float]:
    reading = results.reading("cross_fitted") if split == "oof" and rule == "tuned" else {}
    tables = list(reading.get("labels", {}).values())
    if tables:
        names = dict.fromkeys(name for table in tables for name in table)
        return {name: float(np.mean([t[name] for t in tables if name in t])) for name in names}
    found = results.split_score(split, rule)
    return {label.label: label.score for label in found.labels} if found else {}


def _sort(entries: Sequence[Entry], sort: str) -> list[Entry]:
    """Runs of one metric together; unknown values last; names decide ties."""

    def key(entry: Entry) -> tuple[Any, ...]:
        cells = entry.cells()
        name = {"train_loss": "fold_train_loss_mean", "val_loss": "fold_val_loss_mean"}.get(
            sort, sort
        )
        value = cells[name]
        if isinstance(value, int | float) and SORTS[sort]:
            value = -value
        group = (cells["metric"], cells["task"]) if sort == "score" else ()
        return (*group, value is None, "" if value is None else value, cells["run"])

    return sorted(entries, key=key)


def _notes(entries: Sequence[Entry], split: str, n_groups: int) -> tuple[str, ...]:
    notes = []
    if split == "oof":
        notes.append(
            "Scores are of out-of-fold rows with cross-fitted thresholds (mean over partitions of "
            "the rows); differences and p are of the partition into training folds."
        )
    else:
        notes.append(
            "Scores are of dev rows: mean over the folds' models, thresholds tuned out of fold."
        )
        trained = [e.results.name for e in entries if "dev" in train_splits(e.results)]
        if trained:
            notes.append(f"Trained on dev, so its figures here mean nothing: {', '.join(trained)}.")
    notes.append(
        "Intervals: 95%, bootstrap over groups of equal texts. p: paired approximate "
        "randomisation against the best run, two-sided, not corrected for the number of runs. "
        "The best of several runs is an optimistic choice on the rows that chose it."
    )
    if n_groups > 1:
        notes.append(f"{n_groups} tasks or metrics: each has a best run of its own.")
    for entry in entries:
        if entry.no_test_because and entry.best != entry.results.name:
            notes.append(
                f"No p for {entry.results.name}: {entry.no_test_because} than {entry.best}."
            )
    return tuple(notes)
