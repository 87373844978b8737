"""Looks through the data files of tasks and tells what a person should know before training.

Every file is read by the same rules as in training, one after the other; an error in one does not
keep the others from being read. What the rules accept becomes a note, what may spoil a result a
warning, what training would refuse an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from semeval_kit.data.check_report import CheckReport, FileReport, OverlapReport
from semeval_kit.data.examples import Examples, find_file, read_file, split_patterns
from semeval_kit.data.reference import read_reference
from semeval_kit.data.strays import find_strays
from semeval_kit.data.texts import Keys, find_duplicates, find_overlap, text_keys
from semeval_kit.errors import KitError
from semeval_kit.task.schema import SPLITS
from semeval_kit.task.task import Task

USUAL_FOLDS = 5
MAX_NAMED = 3

# What the reader says about duplicates is left out: it is said here with more ids.
_SAID_HERE = (" duplicate texts (", " texts occur with conflicting labels (")
NO_DEV_LABELS = "has no labels (not released yet?): it cannot be scored, nor trained on"
_WARNING_MARKS = (
    " test rows have an empty text",
    " ids have spaces around them",
    NO_DEV_LABELS,
)


@dataclass(frozen=True)
class _Seen:
    """A file that could be read."""

    report: FileReport
    labels: tuple[str, ...]
    examples: Examples
    keys: Keys

    @property
    def split(self) -> str:
        return self.report.split

    @property
    def place(self) -> str:
        return f"{self.report.task} {self.report.split}"


def check_tasks(
    tasks: Sequence[Task],
    folder: str | Path,
    languages: Sequence[str] | None = None,
    on_file: Callable[[FileReport], None] | None = None,
) -> CheckReport:
    """Check all splits and languages of some tasks in a folder.

    Args:
        tasks: with several, texts are compared between the tasks as well.
        folder: the folder that the tasks' file patterns start from.
        languages: only these; then a file that is missing is an error. Default: all.
        on_file: called with the report of each file as soon as it is there.

    Raises:
        KitError: the folder does not exist, or a language is in none of the tasks.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise KitError(f"{folder}: no such folder. Give the folder with the organisers' files.")
    for language in languages or ():
        if not any(language in task.languages for task in tasks):
            tasks[0].check_languages([language])
    reports: list[FileReport] = []
    seen: dict[Path, _Seen] = {}
    missing = []
    for task in tasks:
        chosen = [code for code in task.languages if languages is None or code in languages]
        for split in (*SPLITS, "gold"):
            missing += _find_missing(task, folder, split, chosen)
            for language in chosen:
                path = find_file(task, folder, split, language)
                if path is None:
                    continue
                reports.append(_check_once(task, path, language, split, seen))
                if on_file:
                    on_file(reports[-1])
    errors = tuple(missing) if languages else ()
    if not reports:
        names = ", ".join(task.name for task in tasks)
        errors = (f"{folder}: holds no file of {names}. Give the folder that holds them.",)
    return CheckReport(
        files=tuple(reports),
        strays=tuple(find_strays(tasks, folder)),
        overlaps=tuple(_compare(list(seen.values()))),
        missing=() if languages or not reports else tuple(missing),
        errors=errors,
    )


def describe_positives(examples: Examples) -> dict[str, int]:
    """Rows above 0 of each label, without the labels that no row has."""
    known = ~np.isnan(examples.labels)
    return {
        name: int((examples.labels[:, i] > 0).sum())
        for i, name in enumerate(examples.label_names)
        if known[:, i].any()
    }


def _check_once(
    task: Task, path: Path, language: str, split: str, seen: dict[Path, _Seen]
) -> FileReport:
    """Check a file, unless another task has it as well: a cross-lingual track trains on another."""
    place = path.resolve()
    known = seen.get(place)
    if known and known.split == split and known.labels == task.labels_for(language):
        same = (f"the same file as {known.place}; see there",)
        return replace(known.report, task=task.name, notes=same, warnings=())
    try:
        if split == "gold":
            return _describe_gold(task, path, language)
        examples = _read_rows(task, path, language, split)
    except KitError as error:
        errors = tuple(_strip(line, path) for line in error.message.splitlines())
        return FileReport(task.name, split, language, str(path), 0, 0, {}, (), (), errors)
    keys = text_keys(examples)
    report = _describe_file(task, path, language, split, examples, keys)
    seen.setdefault(place, _Seen(report, task.labels_for(language), examples, keys))
    return report


def _read_rows(task: Task, path: Path, language: str, split: str) -> Examples:
    """Read a file; a dev split may still be without labels, as long as none has any."""
    try:
        return read_file(task, path, language, split)
    except KitError:
        if split != "dev":
            raise
        # A test split may have labels or not, and its label cells are checked if it has.
        with contextlib.suppress(KitError):
            examples = read_file(task, path, language, "test")
            if np.isnan(examples.labels).all():
                return replace(examples, notes=(*examples.notes, NO_DEV_LABELS))
        raise


def _describe_file(
    task: Task, path: Path, language: str, split: str, examples: Examples, keys: Keys
) -> FileReport:
    notes = [_strip(note, path) for note in examples.notes]
    notes = [note for note in notes if not any(mark in f" {note}" for mark in _SAID_HERE)]
    suspect = [note for note in notes if any(mark in note for mark in _WARNING_MARKS)]
    positives = describe_positives(examples)
    report = FileReport(
        task=task.name,
        split=split,
        language=language,
        path=str(path),
        n_rows=len(examples),
        n_labels=len(positives),
        positives=positives,
        notes=tuple(note for note in notes if note not in suspect),
        warnings=(),
        errors=(),
    )
    warnings = (*suspect, *_duplicate_warnings(examples, keys), *_rarity_warnings(report))
    return replace(report, warnings=warnings)


def _describe_gold(task: Task, path: Path, language: str) -> FileReport:
    """Read gold labels by the rules of scoring: their texts may be missing."""
    reference = read_reference(task, path, language)
    blank = () if reference.gold is not None else ("labels are blank: nothing can be scored",)
    positives = [] if reference.gold is None else (reference.gold > 0).sum(axis=0).tolist()
    return FileReport(
        task=task.name,
        split="gold",
        language=language,
        path=str(path),
        n_rows=len(reference.ids),
        n_labels=len(positives),
        positives=dict(zip(reference.labels, positives, strict=False)),
        notes=(),
        warnings=blank,
        errors=(),
    )


def _duplicate_warnings(examples: Examples, keys: Keys) -> Iterator[str]:
    groups = find_duplicates(examples, keys)
    conflicting = [group for group in groups if group.conflicting]
    if groups:
        extra = sum(len(group.rows) - 1 for group in groups)
        yield f"{extra} duplicate texts ({_name_groups(examples, [g.rows for g in groups])})"
    if conflicting:
        named = _name_groups(examples, [group.rows for group in conflicting])
        yield f"{len(conflicting)} texts occur with conflicting labels ({named})"


def _rarity_warnings(report: FileReport) -> Iterator[str]:
    if report.split not in ("train", "dev"):
        return
    for label, count in report.positives.items():
        if count == 0:
            yield f"label '{label}' has no positive"
        elif report.split == "train" and count < USUAL_FOLDS:
            yield f"label '{label}' has {count} positives: use at most {count} folds"


def _name_groups(examples: Examples, groups: Sequence[tuple[int, ...]]) -> str:
    shown = [" = ".join(examples.ids[row] for row in rows) for rows in groups[:MAX_NAMED]]
    more = f"; and {len(groups) - MAX_NAMED} more" if len(groups) > MAX_NAMED else ""
    return "; ".join(shown) + more


def _compare(seen: Sequence[_Seen]) -> Iterator[OverlapReport]:
    """Compare what may be trained on (train, dev) with what must be new (dev, test)."""
    order = {split: place for place, split in enumerate(SPLITS)}
    for first in seen:
        for second in seen:
            alike = first.report.language == second.report.language
            if not alike or order[first.split] >= order[second.split]:
                continue
            overlap = find_overlap(first.examples, second.examples, keys=(first.keys, second.keys))
            if overlap.rows:
                one, other = first.examples.ids, second.examples.ids
                yield OverlapReport(
                    first=first.place,
                    second=second.place,
                    language=first.report.language,
                    n_second=overlap.n_second,
                    n_verbatim=overlap.n_verbatim,
                    pairs=tuple((one[i], other[j]) for i, j in overlap.rows),
                )


def _find_missing(task: Task, folder: Path, split: str, chosen: Sequence[str]) -> list[str]:
    if split == "gold" or not split_patterns(task, split):
        return []
    wanted = task.train_languages if split == "train" else task.predict_languages
    absent = [
        code for code in chosen if code in wanted and not find_file(task, folder, split, code)
    ]
    if not absent:
        return []
    tried = " or ".join(split_patterns(task, split))
    return [f"{task.name}: no {split} file for {', '.join(absent)} (looked for {tried})"]


def _strip(message: str, path: Path) -> str:
    return message.removeprefix(f"{path}: ")
