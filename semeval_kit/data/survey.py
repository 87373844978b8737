"""Looks through the data files of tasks and tells what a person should know before training.

Every file is read by the same rules as in training, one after the other; an error in one does not
keep the others from being read. What the rules accept becomes a note, what may spoil a result a
warning, what training would refuse an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.data.examples import (
    Examples,
    expects_file,
    find_file,
    find_files,
    read_split,
    split_patterns,
)
from semeval_kit.data.labels import Wanted
from semeval_kit.data.reference import read_reference
from semeval_kit.data.rows import read_columns, read_rows
from semeval_kit.data.texts import (
    Keys,
    Note,
    describe_conflicts,
    find_duplicates,
    find_overlap,
    text_keys,
)
from semeval_kit.errors import KitError
from semeval_kit.plurals import count_noun
from semeval_kit.task.schema import FILE_KINDS, SPLITS, fill_language
from semeval_kit.task.task import Task

USUAL_FOLDS = 5
MAX_SHARE = 0.7
"""A column that may be a group has at most so many values per row."""
MIN_VALUES = 6
MAX_NAMED = 3
NO_DEV_LABELS = Note(
    "has no labels (not released yet?): it cannot be scored, nor trained on", "warning"
)


@dataclass(frozen=True)
class FileReport:
    """What one file holds. `positives` counts the rows above 0 of each annotated label."""

    task: str
    split: str
    language: str
    path: str
    n_rows: int = 0
    n_labels: int = 0
    positives: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    def counting(self, n_rows: int, positives: dict[str, int]) -> FileReport:
        """The same with what was counted."""
        return replace(self, n_rows=n_rows, n_labels=len(positives), positives=positives)


@dataclass(frozen=True)
class OverlapReport:
    """Rows of a dev or test file whose text a train or dev file holds too.

    `pairs` are (id in first, id in second); `n_second` is the number of rows of the second file.
    """

    first: str
    second: str
    language: str
    n_second: int
    n_verbatim: int
    pairs: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """Name the overlap in one line, with the first pair of ids."""
        one, other = self.pairs[0]
        texts = f"of {count_noun(self.n_second, 'text')} of {self.second}"
        return (
            f"{self.language}: {count_noun(len(self.pairs), f'{texts} is', f'{texts} are')} "
            f"also in {self.first}, {self.n_verbatim} of them verbatim (first: {other} = {one})"
        )


@dataclass(frozen=True)
class CheckReport:
    """Everything that was found."""

    files: tuple[FileReport, ...]
    strays: tuple[str, ...]
    overlaps: tuple[OverlapReport, ...]
    missing: tuple[str, ...]
    errors: tuple[str, ...]
    groups: tuple[str, ...] = ()
    """What is odd about the group key, or which column may be one."""

    @property
    def n_errors(self) -> int:
        """Number of errors over all files."""
        return len(self.errors) + sum(len(file.errors) for file in self.files)

    @property
    def n_warnings(self) -> int:
        """Number of warnings over all files, with strays, overlaps, groups and missing files."""
        between = len(self.strays) + len(self.overlaps) + len(self.missing) + len(self.groups)
        return between + sum(len(file.warnings) for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dictionaries and lists."""
        return {**asdict(self), "n_errors": self.n_errors, "n_warnings": self.n_warnings}


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
    tasks: Sequence[Task], folder: str | Path, languages: Sequence[str] | None = None
) -> CheckReport:
    """Check all splits and languages of some tasks in a folder.

    Args:
        tasks: with several, texts are compared between the tasks as well.
        folder: the folder that the tasks' file patterns start from.
        languages: only these; then a file that is missing is an error. Default: all.

    Raises:
        KitError: the folder does not exist, or a language is in none of the tasks.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise KitError(
            f"{folder}: no such folder. Give the folder with the organisers' files (--data)."
        )
    for language in languages or ():
        if not any(language in task.languages for task in tasks):
            tasks[0].check_languages([language])
    reports: list[FileReport] = []
    seen: dict[tuple[Path, str, str], _Seen] = {}
    missing = []
    for task in tasks:
        codes = [code for code in task.languages if languages is None or code in languages]
        for split in FILE_KINDS:
            missing += _find_missing(task, folder, split, codes)
            for language in codes:
                if find_file(task, folder, split, language) is not None:
                    reports.append(_check_once(task, folder, language, split, seen))
    errors = tuple(missing) if languages else ()
    if not reports:
        names = ", ".join(task.name for task in tasks)
        errors = (f"{folder}: holds no file of {names}. Give the folder that holds them.",)
    return CheckReport(
        files=tuple(reports),
        strays=tuple(find_strays(tasks, folder)),
        overlaps=tuple(_compare(list(seen.values()))),
        groups=tuple(_look_for_groups(tasks, folder, list(seen.values()))),
        missing=() if languages or not reports else tuple(missing),
        errors=errors,
    )


def find_strays(tasks: Sequence[Task], folder: str | Path) -> list[str]:
    """Name the files that lie beside the expected ones but belong to no language of the tasks.

    Folders are listed, never read: what is not expected by name is not opened.
    """
    expected: dict[Path, set[str]] = {}
    endings: dict[Path, set[str]] = {}
    for task in tasks:
        for split in FILE_KINDS:
            for pattern in split_patterns(task, split):
                for language in task.languages:
                    path = Path(folder) / fill_language(pattern, language)
                    expected.setdefault(path.parent, set()).add(path.name)
                    endings.setdefault(path.parent, set()).add(path.suffix)
    strays = []
    for place, names in expected.items():
        if not place.is_dir():
            continue
        for path in sorted(place.iterdir()):
            odd = path.name not in names and not path.name.startswith(".")
            if odd and path.is_file() and path.suffix in endings[place]:
                strays.append(f"{path}: {_describe_stray(path, tasks)}")
    return strays


def describe_positives(examples: Examples) -> dict[str, int]:
    """Rows above 0 of each label, without the labels that no row has."""
    annotated = ~np.isnan(examples.labels)
    return {
        name: int((examples.labels[:, i] > 0).sum())
        for i, name in enumerate(examples.label_names)
        if annotated[:, i].any()
    }


def _check_once(
    task: Task, folder: Path, language: str, split: str, seen: dict[tuple[Path, str, str], _Seen]
) -> FileReport:
    """Check a file, unless another task has it as well: a cross-lingual track trains on another."""
    path = find_file(task, folder, split, language)
    assert path is not None
    key = (path.resolve(), split, language)
    before = seen.get(key)
    if before and before.labels == task.labels_for(language):
        same = (f"the same file as {before.place}; see there",)
        return replace(before.report, task=task.name, notes=same, warnings=())
    report, place = FileReport(task.name, split, language, str(path)), f"{path}: "
    try:
        if split == "gold":  # read by the rules of scoring: the texts may be missing
            reference = read_reference(task, path, language)
            blank = reference.gold is None
            warnings = ("labels are blank: nothing can be scored",) if blank else ()
            return replace(
                report.counting(len(reference.ids), reference.positives), warnings=warnings
            )
        examples = _read_rows(task, folder, language, split)
    except KitError as error:
        lines = error.message.splitlines()
        return replace(report, errors=tuple(line.removeprefix(place) for line in lines))
    keys = text_keys(examples)
    report = report.counting(len(examples), describe_positives(examples))
    notes = [note for note in examples.notes if note.kind != "duplicates"]
    report = replace(
        report,
        notes=tuple(note.removeprefix(place) for note in notes if note.kind != "warning"),
        warnings=(
            *(note.removeprefix(place) for note in notes if note.kind == "warning"),
            *_duplicate_warnings(examples, keys),
            *_rarity_warnings(task, report),
        ),
    )
    seen.setdefault(key, _Seen(report, task.labels_for(language), examples, keys))
    return report


def _read_rows(task: Task, folder: Path, language: str, split: str) -> Examples:
    """Read a split; dev may still be without labels, as long as none has any."""
    try:
        return read_split(task, folder, split, language)
    except KitError:
        if split != "dev":
            raise
        with contextlib.suppress(KitError):
            paths = find_files(task, folder, split, language)
            rows = [read_rows(task, path, Wanted(language, split, labels=None)) for path in paths]
            if all(np.isnan(part.labels).all() for part in rows):
                examples = read_split(task, folder, split, language, labelled=False)
                return replace(examples, notes=(*examples.notes, NO_DEV_LABELS))
        raise


def _duplicate_warnings(examples: Examples, keys: Keys) -> Iterator[str]:
    groups = find_duplicates(examples, keys)
    conflicting = [group for group in groups if group.conflicting]
    if groups:
        extra = sum(len(group.rows) - 1 for group in groups)
        named = _name_groups(examples, [group.rows for group in groups])
        yield f"{count_noun(extra, 'duplicate text')} ({named})"
    if conflicting:
        named = _name_groups(examples, [group.rows for group in conflicting])
        yield f"{describe_conflicts(len(conflicting))} ({named})"


def _rarity_warnings(task: Task, report: FileReport) -> Iterator[str]:
    if report.split not in ("train", "dev"):
        return
    numbers = {n for target in task.targets if target.is_numeric for n in target.label_names}
    for label, count in report.positives.items():
        if label in numbers:
            continue
        if count == 0:
            yield f"label '{label}' has no positive"
        elif report.split == "train" and count < USUAL_FOLDS:
            most = count_noun(count, "fold")
            yield f"label '{label}' has {count_noun(count, 'positive')}: use at most {most}"


def _name_groups(examples: Examples, groups: Sequence[tuple[int, ...]]) -> str:
    shown = [" = ".join(examples.ids[row] for row in rows) for rows in groups[:MAX_NAMED]]
    more = f"; and {len(groups) - MAX_NAMED} more" if len(groups) > MAX_NAMED else ""
    return "; ".join(shown) + more


def _compare(seen: Sequence[_Seen]) -> Iterator[OverlapReport]:
    """Compare what may be trained on (train, dev) with what must be new (dev, test)."""
    order: dict[str, int] = {split: place for place, split in enumerate(SPLITS)}
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


def _look_for_groups(tasks: Sequence[Task], folder: Path, seen: Sequence[_Seen]) -> Iterator[str]:
    """Groups that stand in two splits, and columns that look like a group key but are not named."""
    for task in tasks:
        entries = {(e.report.language, e.split): e for e in seen if e.report.task == task.name}
        columns: dict[str, str] = {}
        for language in task.languages:
            train, dev = entries.get((language, "train")), entries.get((language, "dev"))
            if train is None or dev is None:
                continue
            both = set(train.examples.groups) & set(dev.examples.groups)
            if both:
                yield (
                    f"{language}: {len(both)} groups are in {train.place} and in {dev.place} "
                    f"(first: {sorted(both)[0]!r})"
                )
            if not task.data.has_groups:
                columns |= _find_group_column(task, folder, language)
        for column, words in columns.items():
            yield (
                f"{task.name}: column '{column}' looks like a group ({words}): name it in the "
                "task file as data.group_column"
            )


def _find_group_column(task: Task, folder: Path, language: str) -> dict[str, str]:
    """The coarsest column whose values train rows share and no dev row has, with its counts."""
    places = [find_file(task, folder, split, language) for split in ("train", "dev")]
    tables = [
        read_columns(task, path, Wanted(language, split, labels=None))
        for path, split in zip(places, ("train", "dev"), strict=True)
        if path is not None
    ]
    roles = {task.data.id_column, task.data.split_column, task.data.language_column}
    roles |= {column for target in task.targets for column in (*target.columns, target.column)}
    likely = {}
    for column in tables[0].keys() - roles if len(tables) == 2 else ():
        train, dev = tables[0][column], tables[1].get(column, [])
        values = set(train)
        several = MIN_VALUES <= len(values) <= MAX_SHARE * len(train) and len(set(dev)) > 1
        if several and not values & set(dev):
            likely[column] = len(values)
    if not likely:
        return {}
    column = min(sorted(likely), key=lambda name: likely[name])
    n_rows = len(tables[0][column])
    return {column: f"{n_rows:,} rows of train share {likely[column]:,} values, none is in dev"}


def _find_missing(task: Task, folder: Path, split: str, codes: Sequence[str]) -> list[str]:
    expected = [code for code in codes if expects_file(task, split, code)]
    absent = [code for code in expected if not find_file(task, folder, split, code)]
    if not absent:
        return []
    tried = " or ".join(split_patterns(task, split))
    return [f"{task.name}: no {split} file for {', '.join(absent)} (looked for {tried})"]


def _describe_stray(path: Path, tasks: Sequence[Task]) -> str:
    trained = {
        (pattern.rpartition("/")[0]).rpartition("/")[2]
        for task in tasks
        for pattern in task.data.files.train
    }
    if path.parent.name in trained and "test" in path.name.lower():
        return "a test file among train files; not read, and never to be trained on"
    return "belongs to no language of the task; not read"
