"""Runs side by side: scores with intervals and p, and the encoder before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semeval_kit.decision.resampling import Board, Comparison, compare_systems
from semeval_kit.errors import KitError
from semeval_kit.plurals import count_noun
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import Answers, read_answers
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.scores import SplitResult, score_answers
from semeval_kit.show.tabulate import Table, show_number, spell_csv
from semeval_kit.show.wording import SORTS, find_wording

COMPARED = ("oof", "dev")

FOLD_VALUES = ("train_loss", "val_loss", "macro_f1", "micro_f1", "subset_accuracy")


@dataclass(frozen=True)
class Resampling:
    """How often rows are drawn again.

    Attributes:
        n_resamples: bootstraps per interval.
        n_shuffles: shuffles per p-value.
    """

    n_resamples: int = 2000
    n_shuffles: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """One run of a comparison.

    Attributes:
        tuned: its score on the split by tuned thresholds (for "oof" cross-fitted).
        half: its score by the untuned rule.
        versus_best: this run minus the best; None for the best itself and where rows differ.
        no_test_because: why there is no test; empty where there is one, and for the best itself.
    """

    results: RunResults
    tuned: SplitResult
    half: SplitResult
    best: str
    versus_best: Comparison | None
    no_test_because: str

    def cells(self) -> dict[str, Any]:
        """Everything about the run as named values, for CSV and JSON; None where unknown."""
        results, test = self.results, self.versus_best
        low, high = self.tuned.interval or (None, None)
        in_sample = results.reading("tuned_in_sample") if self.tuned.split == "oof" else {}
        cells: dict[str, Any] = {
            "run": results.name,
            "task": results.task.name,
            "encoder": results.encoder,
            "parameters": results.parameters,
            "trainable_parameters": results.trainable_parameters,
            "seed": results.recipe.get("seed"),
            "folds": len(results.folds),
            "split": self.tuned.split,
            "n_examples": self.tuned.n_examples,
            "metric": results.metric,
            "score": self.tuned.score,
            "low": low,
            "high": high,
            "at_half": self.half.score,
            "in_sample": in_sample.get("score"),
            "best_run": self.best,
            "difference": test.difference if test else None,
            "difference_low": test.low if test else None,
            "difference_high": test.high if test else None,
            "p_value": test.p_value if test else None,
            "no_test_because": self.no_test_because,
            **self.tuned.measures,
        }
        for name in FOLD_VALUES:
            values = results.fold_values(name)
            cells[f"fold_{name}_mean"] = float(np.mean(values)) if values else None
            cells[f"fold_{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        cells |= {f"label_{label.label}": label.score for label in self.tuned.labels}
        cells |= {f"label_{label.label}_at_half": label.score for label in self.half.labels}
        cells["official_test"] = results.test_score
        cells["uploaded"] = results.uploaded
        cells["seconds"] = results.seconds
        cells["peak_rss_mb"] = results.peak_rss_mb
        return cells


@dataclass(frozen=True)
class RunComparison:
    """Runs on one split, sorted.

    Attributes:
        split: "oof" or "dev".
    """

    split: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All values by name."""
        return {
            "split": self.split,
            "runs": [entry.cells() for entry in self.entries],
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """One line per run with all values in full precision."""
        rows = [entry.cells() for entry in self.entries]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return spell_csv(columns, ([row.get(name) for name in columns] for row in rows))


def compare_runs(
    runs: Sequence[Run],
    split: str = "oof",
    *,
    sort: str = "score",
    reference: str = "",
    resampling: Resampling | None = None,
    tell: Callable[[str], None] | None = None,
) -> RunComparison:
    """Compare finished runs with the best of those that answered the same rows of the same task.

    A run that cannot be compared is left out, and a note says why.

    Args:
        runs: at least one that is finished.
        split: "oof" (cross-fitted thresholds) or "dev" (mean over folds, the run's thresholds).
        sort: one of SORTS.
        reference: name of the run to compare with instead of the best one.
        resampling: how often.
        tell: called with the name of each run before it is read.

    Raises:
        KitError: no run can be compared, or two have the same name.
    """
    if split not in COMPARED:
        raise KitError(f"compare: split '{split}' is unknown. Choose one of {', '.join(COMPARED)}.")
    if sort not in SORTS:
        raise KitError(f"compare: cannot sort by '{sort}'. Choose one of {', '.join(SORTS)}.")
    names = [run.name for run in runs]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise KitError(f"compare: run {double[0]} is given twice. Give each run once.")
    resampling = resampling or Resampling()
    read, left_out = [], []
    for run in runs:
        if tell:
            tell(run.name)
        try:
            read.append(_read(run, split, resampling.n_resamples))
        except KitError as error:
            left_out.append(f"Left out: {error.message}")
    if not read:
        reasons = "\n".join(left_out) or "No run is given. Name one under submissions/."
        raise KitError(f"compare: nothing to compare.\n{reasons}")
    entries = [
        _enter(results, answers, _find_leader(results, answers, read, reference), resampling)
        for results, answers in read
    ]
    ordered = tuple(sorted(entries, key=lambda entry: _sort_key(entry, sort)))
    return RunComparison(split, ordered, (*_notes(ordered, split), *left_out))


def measure_difference(
    results: RunResults, answers: Answers, other: Answers, resampling: Resampling
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
        results.task.scoring.counted(results.task.all_labels),
        answers.groups,
    )
    return compare_systems(
        board,
        answers.tuned,
        other.tuned[rows],
        n_resamples=resampling.n_resamples,
        n_shuffles=resampling.n_shuffles,
        seed=resampling.seed,
    )


def find_before(run: Run) -> Run | None:
    """The finished run of the same encoder before fine-tuning that lies inside the run, or None."""
    before = Run(run.before_dir)
    return before if before.estimate_file.is_file() else None


def read_before(run: Run, oof: Answers, before: Run) -> Answers:
    """Out-of-fold answers of the same encoder before fine-tuning.

    Raises:
        KitError: `before` was trained, or has another task, encoder or rows.
    """
    if int(before.recipe["epochs"]) != 0:
        raise KitError(
            f"{before.path}: was trained for {count_noun(before.recipe['epochs'], 'epoch')}, so it "
            "does not show the encoder before fine-tuning. Make a run with --epochs 0 for that."
        )
    pairs = {
        "task": (before.task.name, run.task.name),
        "encoder": (before.recipe["encoder"], run.recipe["encoder"]),
    }
    for field, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise KitError(
                f"{before.path}: its {field} is {theirs}, that of {run.name} is {ours}. "
                f"Make the run before fine-tuning with the same {field}."
            )
    earlier = read_answers(before, "oof")
    if earlier is None or set(earlier.keys) != set(oof.keys):
        raise KitError(
            f"{before.path}: its rows are not those of {run.name}. Make it on the same data."
        )
    return earlier


def tabulate_before(run: Run, oof: Answers, before: Run) -> Table:
    """Scores on out-of-fold rows before and after fine-tuning.

    Raises:
        KitError: `before` does not fit, see `read_before`.
    """
    earlier = score_axes(run, read_before(run, oof, before))
    later = score_axes(run, oof)
    rows = (
        (name, show_number(earlier[name]), show_number(after), show_number(after - earlier[name]))
        for name, after in later.items()
    )
    compared = find_wording(run.task).compared
    return Table(
        "before",
        "Before and after fine-tuning",
        ("on out-of-fold rows", "before", "after", "difference"),
        tuple(rows),
        notes=(f"{compared}; before: the encoder as it came, with an untrained head.",),
    )


def score_axes(run: Run, answers: Answers) -> dict[str, float]:
    """The scores of the chart by name: F1 or Pearson r per label, or measures of all classes."""
    score = score_answers(run.task, answers, "tuned", n_resamples=0)
    axes = find_wording(run.task).axes
    if axes:
        return {short: score.measures[name] for name, short in axes}
    return {label.label: label.score for label in score.labels}


def _read(run: Run, split: str, n_resamples: int) -> tuple[RunResults, Answers]:
    if run.settings.get("per_language"):
        raise KitError(f"{run.path}: has one run per language. Compare those in its languages/.")
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
    sign = -1 if results.low_is_better else 1
    return max(candidates, key=lambda pair: sign * pair[0].splits[answers.split]["tuned"].score)


def _enter(
    results: RunResults,
    answers: Answers,
    leader: tuple[RunResults, Answers],
    resampling: Resampling,
) -> Entry:
    best, best_answers = leader
    test: Comparison | str = ""
    if results.metric != best.metric or results.task.name != best.task.name:
        test = "another task or metric"
    elif best.name != results.name:
        test = measure_difference(results, answers, best_answers, resampling)
    scores = results.splits[answers.split]
    return Entry(
        results=results,
        tuned=scores["tuned"],
        half=scores["half"],
        best=best.name,
        versus_best=None if isinstance(test, str) else test,
        no_test_because=test if isinstance(test, str) else "",
    )


def _sort_key(entry: Entry, sort: str) -> tuple[Any, ...]:
    """Runs of one metric together; unknown values last; names decide ties."""
    cells = entry.cells()
    value = cells[f"fold_{sort}_mean" if sort in FOLD_VALUES else sort]
    high_first = not entry.results.low_is_better if sort == "score" else SORTS[sort]
    if isinstance(value, int | float) and high_first:
        value = -value
    group = (cells["metric"], cells["task"]) if sort == "score" else ()
    return (*group, value is None, "" if value is None else value, cells["run"])


def _notes(entries: Sequence[Entry], split: str) -> tuple[str, ...]:
    notes = [
        "Scores are of out-of-fold rows with cross-fitted thresholds: those of each training fold, "
        "or part of a hold-out, are tuned on the others."
        if split == "oof"
        else "Scores are of dev rows: mean over the folds' models, thresholds tuned out of fold."
    ]
    if split == "dev":
        trained = [e.results.name for e in entries if "dev" in e.results.learnt_splits]
        if trained:
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
