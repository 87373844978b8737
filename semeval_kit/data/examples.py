"""Examples: the organisers' data files as ids, texts and labels, with every oddity named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semeval_kit.data.cells import LabelReader
from semeval_kit.data.columns import Columns, find_columns
from semeval_kit.data.table import Problems, Record, read_table
from semeval_kit.data.texts import normalize_text
from semeval_kit.errors import KitError
from semeval_kit.task.schema import SPLITS, fill_language
from semeval_kit.task.task import Task


@dataclass(frozen=True)
class Examples:
    """Rows of a task: what they say and which labels they have.

    `labels` is (n_examples, n_labels): 0 or 1, for intensity 0..max, NaN where not annotated.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    languages: tuple[str, ...]
    label_names: tuple[str, ...]
    labels: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    """What was accepted or is worth a warning, each with its file."""
    cells: tuple[tuple[str, ...], ...] = ()
    """The text columns of each row before they were joined, for files that echo them."""
    label_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Language -> label columns in the order of the organisers' header."""
    pairs: tuple[str, ...] = ()
    """The second text of each row; empty where the task has none."""
    contexts: tuple[str, ...] = ()
    """What is read beside each row's text and cut before it; empty where the task has none."""
    groups: tuple[str, ...] = ()
    """The group key of each row: equal ones stay together; empty where the task names none."""
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns that scoring needs -> their cells."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: ArrayLike) -> Examples:
        """Rows chosen by position or by a boolean mask, in that order."""
        chosen = np.asarray(indices)
        rows = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.intp)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            texts=tuple(self.texts[i] for i in rows),
            languages=tuple(self.languages[i] for i in rows),
            labels=self.labels[rows],
            cells=_pick(self.cells, rows),
            pairs=_pick(self.pairs, rows),
            contexts=_pick(self.contexts, rows),
            groups=_pick(self.groups, rows),
            kept={name: _pick(cells, rows) for name, cells in self.kept.items()},
        )

    @classmethod
    def concat(cls, parts: Sequence[Examples]) -> Examples:
        """Examples of the same task one after the other.

        Raises:
            ValueError: there is no part, or the label names differ.
        """
        if len({part.label_names for part in parts}) != 1:
            raise ValueError("concat needs at least one part, all with the same label names")
        return cls(
            ids=_join(part.ids for part in parts),
            texts=_join(part.texts for part in parts),
            languages=_join(part.languages for part in parts),
            label_names=parts[0].label_names,
            labels=np.concatenate([part.labels for part in parts]),
            notes=_join(part.notes for part in parts),
            cells=_join(part.cells for part in parts),
            label_order={k: v for part in parts for k, v in part.label_order.items()},
            pairs=_join(part.pairs for part in parts),
            contexts=_join(part.contexts for part in parts),
            groups=_join(part.groups for part in parts),
            kept={name: _join(part.kept[name] for part in parts) for name in parts[0].kept},
        )


def read_examples(
    task: Task,
    folder: str | Path,
    split: str,
    languages: Iterable[str],
    *,
    labelled: bool | None = None,
) -> Examples:
    """Read a split of some languages, in the order given.

    `labelled`: True wants labels in every row; False leaves them out; None wants them in train and
    dev, and takes what there is in test.

    Raises:
        KitError: a language is unknown, a file is missing, or a file has problems (up to 20 each).
    """
    chosen = task.check_languages(languages)
    if not chosen:
        raise KitError(f"no language given. Task {task.name} has: {', '.join(task.languages)}.")
    parts, errors = [], []
    for language in chosen:
        path = find_file(task, folder, split, language)
        if path is None:
            errors.append(_describe_missing(task, folder, split, language))
            continue
        try:
            parts.append(read_file(task, path, language, split, labelled=labelled))
        except KitError as error:
            errors.append(error.message)
    if errors:
        raise KitError("\n".join(errors))
    return Examples.concat(parts)


def find_file(task: Task, folder: str | Path, split: str, language: str) -> Path | None:
    """The file of a split and language: the first of the task's patterns that exists, or None.

    Folders are never searched: the official train folder holds a stray test file.
    """
    for pattern in split_patterns(task, split):
        path = Path(folder) / fill_language(pattern, language)
        if path.is_file():
            return path
    return None


def split_patterns(task: Task, split: str) -> tuple[str, ...]:
    """The task's file patterns of a split (train, dev, test or gold)."""
    if split not in (*SPLITS, "gold"):
        raise KitError(f"split '{split}' is unknown. Use train, dev or test.")
    patterns: tuple[str, ...] = getattr(task.data.files, split)
    return patterns


def read_file(
    task: Task,
    path: str | Path,
    language: str,
    split: str,
    *,
    labelled: bool | None = None,
) -> Examples:
    """Read one data file of a language; see `read_examples` for `labelled`.

    Raises:
        KitError: the file has problems; up to 20 are told in one error, with lines.
    """
    path = Path(path)
    if split == "train" and "test" in path.name.lower():
        raise KitError(
            f"{path}: a training file with 'test' in its name is refused, since it may leak test "
            "rows. Rename it only if you know that it holds training data."
        )
    data = task.data
    table = read_table(
        path,
        delimiter=data.delimiter,
        quoted=data.quoted,
        split_from_right=len(data.columns) - 1 if data.split_from_right else 0,
        max_bytes=int(data.max_megabytes * 1e6),
    )
    problems = Problems(str(path))
    records = table.records
    header = data.columns
    if data.header:
        if not records:
            raise KitError(f"{path}: the file is empty. Expected a header line and rows.")
        header, records = records[0].cells, records[1:]
    needed = labelled if labelled is not None else (True if split != "test" else None)
    columns = find_columns(task, language, header, needed, problems)
    problems.raise_if_any()
    if not records:
        problems.add("has no rows. Check that it is the right file.")
    rows = _Rows(task, language, split, columns, needed, problems)
    for number, record in enumerate(records, start=1):
        rows.read(number, record)
    return rows.finish(path, table.notes)


class _Rows:
    """Collects the rows of one file."""

    def __init__(
        self,
        task: Task,
        language: str,
        split: str,
        columns: Columns,
        needed: bool | None,
        problems: Problems,
    ) -> None:
        self.task, self.language, self.split = task, language, split
        self.columns, self.needed, self.problems = columns, needed, problems
        self.reader = LabelReader(task, language, columns, needed, problems)
        self.ids: dict[str, int] = {}
        self.texts: list[str] = []
        self.cells: list[tuple[str, ...]] = []
        self.empty_texts: list[str] = []
        self.padded_ids: list[str] = []

    def read(self, number: int, record: Record) -> None:
        width = len(self.columns.header)
        if len(record.cells) != width:
            self._note_width(record, width)
            return
        self._read_id(number, record)
        cells = tuple(record.cells[i] for i in self.columns.texts)
        self.cells.append(cells)
        self.texts.append(self.task.data.text_joiner.join(cells))
        if not any(cell.strip() for cell in cells):
            self._note_empty_text(record)
        self.reader.read(record)

    def finish(self, path: Path, table_notes: tuple[str, ...]) -> Examples:
        labels = self.reader.finish()
        self.problems.raise_if_any()
        notes = [*table_notes, *self.columns.notes, *self.reader.notes, *self._id_and_text_notes()]
        notes += describe_duplicates(tuple(self.ids), self.texts, labels)
        keep_cells = bool(self.task.submission.text_columns)
        return Examples(
            ids=tuple(self.ids),
            texts=tuple(self.texts),
            languages=(self.language,) * len(self.texts),
            label_names=self.task.all_labels,
            labels=labels,
            notes=tuple(f"{path}: {note}" for note in notes),
            cells=tuple(self.cells) if keep_cells else (),
            label_order={self.language: self.columns.label_order},
        )

    def _read_id(self, number: int, record: Record) -> None:
        if self.columns.id is None:
            self.ids[f"{self.language}_{self.split}_{number:05d}"] = record.line
            return
        row_id = record.cells[self.columns.id]
        if not row_id.strip():
            self.problems.add("the id is empty. Give the row its id.", record.line)
        elif row_id in self.ids:
            first = self.ids[row_id]
            self.problems.add(
                f"id '{row_id}' is already on line {first}. Remove one of the rows.", record.line
            )
        elif row_id != row_id.strip():
            self.padded_ids.append(row_id)
        self.ids.setdefault(row_id, record.line)

    def _note_width(self, record: Record, width: int) -> None:
        names = ",".join(self.columns.header)
        why = (
            "A delimiter in a text needs quotes around the text."
            if len(record.cells) > width
            else "Add the missing cells."
        )
        self.problems.add(
            f"{len(record.cells)} cells where {width} are expected ({names}). {why}", record.line
        )

    def _note_empty_text(self, record: Record) -> None:
        if self.split == "test":
            self.empty_texts.append(str(record.line))
        else:
            self.problems.add("the text is empty. Remove the row or restore its text.", record.line)

    def _id_and_text_notes(self) -> list[str]:
        notes = []
        if self.empty_texts:
            lines = ", ".join(self.empty_texts[:3])
            notes.append(f"{len(self.empty_texts)} test rows have an empty text (line {lines})")
        if self.padded_ids:
            count, first = len(self.padded_ids), self.padded_ids[0]
            notes.append(f"{count} ids have spaces around them (first: '{first}')")
        return notes


def describe_duplicates(
    ids: Sequence[str], texts: Sequence[str], labels: NDArray[np.float64]
) -> list[str]:
    """Warnings on texts that occur more than once, and on those whose labels conflict.

    Texts are compared after `normalize_text`. `labels` is (n_examples, n_labels).
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        groups[normalize_text(text)].append(row)
    repeated = [rows for rows in groups.values() if len(rows) > 1]
    conflicting = [
        rows for rows in repeated if not np.array_equal(*_extremes(labels[rows]), equal_nan=True)
    ]
    notes = []
    if repeated:
        extra = sum(len(rows) - 1 for rows in repeated)
        notes.append(f"{extra} duplicate texts (first: {_name_rows(ids, repeated[0])})")
    if conflicting:
        notes.append(
            f"{len(conflicting)} texts occur with conflicting labels "
            f"(first: {_name_rows(ids, conflicting[0])})"
        )
    return notes


def _extremes(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rows.min(axis=0), rows.max(axis=0)


def _name_rows(ids: Sequence[str], rows: Sequence[int]) -> str:
    return ", ".join(ids[row] for row in rows[:3])


def _pick(cells: tuple[Any, ...], rows: NDArray[np.intp]) -> tuple[Any, ...]:
    return tuple(cells[row] for row in rows) if cells else ()


def _join(parts: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(item for part in parts for item in part)


def _describe_missing(task: Task, folder: str | Path, split: str, language: str) -> str:
    patterns = split_patterns(task, split)
    if not patterns:
        return f"task {task.name} has no {split} split."
    if not Path(folder).is_dir():
        return f"{folder}: no such folder. Give the folder with the organisers' files."
    tried = ", ".join(fill_language(pattern, language) for pattern in patterns)
    return (
        f"{folder}: no {split} file for language '{language}' of {task.name} (tried {tried}). "
        "Give the folder that holds it."
    )
