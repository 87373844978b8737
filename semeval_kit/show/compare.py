"""Runs side by side: scores with intervals, and a paired test against the best run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from semeval_kit.decision.resampling import Board, Comparison, compare_systems
from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import Answers, read_answers
from semeval_kit.show.comparison import Entry, RunComparison, train_splits
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.scores import scored_labels

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
    reference: str = "",
    seed: int = 0,
    n_resamples: int = 2000,
    n_shuffles: int = 10_000,
    tell: Callable[[str], None] | None = None,
) -> RunComparison:
    """Compare finished runs with the best of those that answered the same rows of the same task.

    Args:
        runs: at least one.
        split: "oof" (cross-fitted thresholds) or "dev" (mean over folds, the run's thresholds).
        sort: one of SORTS.
        reference: name of the run to compare with instead of the best one.
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
        read.append(_read(run, split, n_resamples))
    entries = []
    for results, answers in read:
        leader = _find_leader(results, answers, read, split, reference)
        entries.append(_enter(results, answers, leader, n_resamples, n_shuffles, seed))
    ordered = tuple(_sort(entries, sort))
    return RunComparison(split, ordered, _notes(ordered, split))


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
        return f"other rows: {len(answers)} here, {len(other)} there, {shared} shared"
    rows = np.array([row_of[key] for key in answers.keys])
    if not np.array_equal(answers.gold, other.gold[rows], equal_nan=True):
        return "other gold labels"
    board = Board.of(
        results.metric,
        answers.gold,
        answers.examples.languages,
        scored_labels(results.task),
        answers.groups,
    )
    return compare_systems(
        board,
        answers.tuned,
        other.tuned[rows],
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
    if reading and results.estimate.get("metric") == results.metric:
        return float(reading["score"]), float(reading["low"]), float(reading["high"])
    tuned = results.split_score(split)
    if tuned is None:
        raise KitError(f"run {results.name}: there is no score for {split}.")
    low, high = tuned.interval or (None, None)
    return tuned.score, low, high


def _read(run: Run, split: str, n_resamples: int) -> tuple[RunResults, Answers]:
    answers = read_answers(run, split)
    if answers is None:
        raise KitError(f"{run.path}: no answers with gold labels for {split}. Use --split oof.")
    results = read_results(
        run, [split], answers={split: answers}, n_resamples=n_resamples, by_label=False
    )
    return results, answers


def _find_leader(
    results: RunResults,
    answers: Answers,
    read: Sequence[tuple[RunResults, Answers]],
    split: str,
    reference: str,
) -> tuple[RunResults, Answers]:
    """The reference, or the best on the same rows; for a run alone on its rows, the best other."""
    task = (results.task.name, results.metric)
    same_task = [pair for pair in read if (pair[0].task.name, pair[0].metric) == task]
    if reference:
        return next((pair for pair in read if pair[0].name == reference), (results, answers))
    rows = set(answers.keys)
    same_rows = [pair for pair in same_task if set(pair[1].keys) == rows]
    others = [pair for pair in same_task if pair[0].name != results.name]
    candidates = same_rows if len(same_rows) > 1 or not others else others
    return max(candidates, key=lambda pair: _score(pair[0], split)[0])


def _enter(
    results: RunResults,
    answers: Answers,
    leader: tuple[RunResults, Answers],
    n_resamples: int,
    n_shuffles: int,
    seed: int,
) -> Entry:
    best, best_answers = leader
    found: Comparison | str = ""
    if results.metric != best.metric or results.task.name != best.task.name:
        found = "another task or metric"
    elif best.name != results.name:
        found = measure_difference(
            results, answers, best_answers,
            n_resamples=n_resamples, n_shuffles=n_shuffles, seed=seed,
        )  # fmt: skip
    split = answers.split
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


def _notes(entries: Sequence[Entry], split: str) -> tuple[str, ...]:
    notes = [
        "Scores are of out-of-fold rows with cross-fitted thresholds: those of each training fold, "
        "or part of a hold-out, are tuned on the others."
        if split == "oof"
        else "Scores are of dev rows: mean over the folds' models, thresholds tuned out of fold."
    ]
    trained = [e.results.name for e in entries if "dev" in train_splits(e.results)]
    if split == "dev" and trained:
        notes.append(f"Trained on dev, so its figures here mean nothing: {', '.join(trained)}.")
    leaders = list(dict.fromkeys(e.best for e in entries if e.versus_best))
    if leaders:
        notes.append(
            f"p: paired approximate randomisation against {' or '.join(leaders)}, two-sided, not "
            "corrected for the number of runs. The best of several runs is an optimistic choice "
            "on the rows that chose it."
        )
    notes.append("Intervals: 95%, bootstrap over groups of equal texts.")
    notes += [
        f"No p for {entry.results.name} against {entry.best}: {entry.no_test_because}."
        for entry in entries
        if entry.no_test_because
    ]
    return tuple(notes)
