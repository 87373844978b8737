"""Rows of one file, whatever its form: which cell is the id, the texts and the group.

All problems of a file are told in one error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.labels import LabelReader, Wanted
from semeval_kit.data.table import (
    Form,
    Problems,
    Record,
    Table,
    explain_misread,
    format_of,
    read_objects,
    read_table,
    unit_of,
)
from semeval_kit.data.texts import Note
from semeval_kit.errors import KitError
from semeval_kit.plurals import count_noun
from semeval_kit.task.schema import SPLITS, Spelling, template_columns
from semeval_kit.task.task import Task, nearest


class NoRowsError(KitError):
    """A file for several splits or languages holds none of what is looked for."""


def read_rows(task: Task, path: Path, wanted: Wanted) -> ReadRows:
    """Read the rows of a file, whatever its form.

    Raises:
        KitError: the file has problems; up to 20 are told in one error, with lines.
    """
    problems = Problems(str(path), unit_of(task.data.format or format_of(path)))
    table, header = _open(task, path, wanted)
    reader = RowReader(task, wanted, header, problems)
    problems.raise_if_any()
    for record in table.records:
        reader.read(record)
    reader.rows.notes[:0] = map(Note, table.notes)
    if not table.records:
        problems.add("has no rows. Check that it is the right file.")
    elif not reader.rows.ids and not problems.count:
        raise NoRowsError(
            f"{path}: has no rows of {_describe_wanted(task, wanted)}. Check data.split_values "
            "and data.language_values."
        )
    rows = reader.finish()
    problems.raise_if_any()
    return rows


def read_columns(task: Task, path: Path, wanted: Wanted) -> dict[str, list[str]]:
    """Every column of a file as it stands there, the rows of one split and language.

    Raises:
        KitError: the file cannot be read.
    """
    table, header = _open(task, path, wanted)
    reader = RowReader(task, wanted, header, Problems(str(path)))
    records = [
        record
        for record in table.records
        if len(record.cells) == len(header) and reader.is_wanted(record)
    ]
    return {name: [record.cells[i] for record in records] for i, name in enumerate(header)}


@dataclass
class ReadRows:
    """The rows that were read, column by column; see `Examples`."""

    ids: dict[str, int] = field(default_factory=dict)
    """Id -> line."""
    texts: list[str] = field(default_factory=list)
    pairs: list[str] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    cells: list[tuple[str, ...]] = field(default_factory=list)
    kept: dict[str, list[str]] = field(default_factory=dict)
    labels: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    label_order: tuple[str, ...] = ()
    notes: list[Note] = field(default_factory=list)


class RowReader:
    """Finds the columns in a header, then reads row by row; what is wrong goes to the problems."""

    def __init__(
        self, task: Task, wanted: Wanted, header: tuple[str, ...], problems: Problems
    ) -> None:
        self.task, self.wanted, self.header, self.problems = task, wanted, header, problems
        own_id = task.data.spelling_for(Path(problems.place), wanted.language).id_column
        self.id_column = task.data.id_column if own_id is None else own_id
        self.where = {name: position for position, name in enumerate(header)}
        self.readers = [
            LabelReader(task, target, wanted, self.where, problems) for target in task.targets
        ]
        self.rows = ReadRows()
        self._find_columns()
        scoring = (task.scoring.spread_column, task.scoring.reverse_column)
        self.rows.kept = {name: [] for name in scoring if name in self.where}
        self._empty_texts: list[str] = []
        self._padded_ids: list[str] = []
        self._n_dropped: Counter[str] = Counter()

    def read(self, record: Record) -> None:
        """Read a row, unless it is of another split or language, or its label is left out."""
        if len(record.cells) != len(self.header):
            self._note_width(record)
            return
        if not self.is_wanted(record):
            return
        for reader in self.readers:
            dropped = reader.dropped_cell(record)
            if dropped is not None:
                self._n_dropped[dropped] += 1
                return
        row_id = self._read_id(record)
        if self.wanted.texts or all(name in self.where for name in self.task.data.input_columns):
            self._read_texts(record)
        self._read_group(record, row_id)
        for name, cells in self.rows.kept.items():
            cells.append(record.cells[self.where[name]])
        for reader in self.readers:
            reader.read(record)

    def finish(self) -> ReadRows:
        """All rows, their labels `(n_examples, n_labels)`; problems may have been added."""
        rows, notes = self.rows, self.rows.notes
        parts = [reader.finish(notes) for reader in self.readers]
        rows.labels = np.concatenate(parts, axis=1)
        self._check_annotated(parts)
        for cell, count in self._n_dropped.items():
            with_label = f"with label {cell!r}"
            left_out = count_noun(count, f"row {with_label} is", f"rows {with_label} are")
            notes.append(Note(f"{left_out} left out"))
        if self._empty_texts:
            count, lines = len(self._empty_texts), ", ".join(self._empty_texts[:3])
            empty = count_noun(count, "test row has", "test rows have")
            notes.append(Note(f"{empty} an empty text (line {lines})", "warning"))
        if self._padded_ids:
            count, first = len(self._padded_ids), self._padded_ids[0]
            padded = count_noun(count, "id has", "ids have")
            notes.append(Note(f"{padded} spaces around them (first: '{first}')", "warning"))
        return rows

    def _find_columns(self) -> None:
        data = self.task.data
        needs = [self.id_column] if self.id_column else []
        needs += data.input_columns if self.wanted.texts else ()
        shared = (data.split_column, data.language_column)
        needs += [name for name in shared if name and self.wanted.split != "gold"]
        learnt = self.wanted.split in ("train", "dev")
        needs += [data.group_column] if data.group_column and learnt else []
        scoring = self.task.scoring
        optional = {*data.input_columns, *shared, data.group_column}
        optional |= {scoring.spread_column, scoring.reverse_column}
        named = {*needs, *optional, *data.ignored_columns}
        for reader in self.readers:
            needs += reader.needs
            named |= reader.named
        self._check_header(needs, named)
        main = self.readers[0]
        order = tuple(name for name in self.header if name in main.labels)
        expected = tuple(name for name in main.labels_here if name in main.labels)
        if main.target.layout == "columns" and main.target.name == "main" and order != expected:
            note = f"label columns come as {','.join(order)}: accepted by name"
            self.rows.notes.append(Note(note))
        complete = len(order) == len(main.labels_here) and main.target.layout == "columns"
        self.rows.label_order = order if complete else main.labels_here

    def _check_header(self, needs: list[str], named: set[str]) -> None:
        header, where = self.header, self.where
        missing = [name for name in dict.fromkeys(needs) if name not in where]
        why = explain_misread(header, self.task.data.delimiter) if missing else ""
        if why:
            self.problems.add(why, 1)
            return
        for name in missing:
            shown = ",".join(header)[:120]
            hint = nearest(name, [column for column in header if column not in named])
            self.problems.add(
                f"column '{name}' is missing{hint}; the header is {shown!r}. Add or rename it.", 1
            )
        for position, name in enumerate(header):
            if where[name] != position:
                self.problems.add(f"column '{name}' occurs twice in the header. Remove one.", 1)
            elif name not in named and "*" not in named:
                hint = nearest(name, [column for column in named if column not in header])
                self.problems.add(
                    f"column '{name}' is unknown{hint}. Rename or remove it, or list it in the "
                    "task file under data.ignored_columns.",
                    1,
                )

    def is_wanted(self, record: Record) -> bool:
        """Whether a row is of the split and language that are read."""
        data = self.task.data
        if data.split_column in self.where:
            word = record.cells[self.where[data.split_column]].strip()
            split = data.split_values.get(word, word)
            if split not in SPLITS:
                self.problems.add(
                    f"split is {word!r}; expected {', '.join(SPLITS)}. Map the word in the task "
                    "file under data.split_values.",
                    record.line,
                )
            if split != self.wanted.split_of_rows:
                return False
        if data.language_column in self.where:
            word = record.cells[self.where[data.language_column]].strip()
            return data.language_values.get(word, word) == self.wanted.language
        return True

    def _read_id(self, record: Record) -> str:
        column, ids = self.id_column, self.rows.ids
        if not column:
            number, wanted = len(ids) + 1, self.wanted
            row_id = f"{wanted.language}_{wanted.split_of_rows}_{number:05d}"
            # Gold of a task without ids is known by its line.
            by_line = wanted.split == "gold" and not self.task.data.id_column
            ids[str(number) if by_line else row_id] = record.line
            return row_id
        row_id = record.cells[self.where[column]]
        if not row_id.strip():
            self.problems.add("the id is empty. Give the row its id.", record.line)
        elif row_id in ids:
            first = f"{self.problems.unit} {ids[row_id]}"
            message = f"id '{row_id}' is already on {first}. Remove one of the rows."
            self.problems.add(message, record.line)
        elif row_id != row_id.strip():
            self._padded_ids.append(row_id)
        ids.setdefault(row_id, record.line)
        return row_id

    def _read_texts(self, record: Record) -> None:
        data, rows = self.task.data, self.rows
        by_name = {name: record.cells[self.where[name]] for name in data.input_columns}
        cells = tuple(by_name[name] for name in template_columns(data.text) or data.text_columns)
        if not data.text:
            rows.cells.append(tuple(by_name[name] for name in data.text_columns))
        text = _fill_template(data.text, by_name) if data.text else data.text_joiner.join(cells)
        if data.pair_separator:
            text, mark, pair = text.partition(data.pair_separator)
            if not mark and self.wanted.texts:
                self.problems.add(
                    f"the text has no {data.pair_separator!r} that separates two texts. Correct "
                    "the row, or data.pair_separator.",
                    record.line,
                )
            rows.pairs.append(pair)
        elif data.pair:
            rows.pairs.append(_fill_template(data.pair, by_name))
        rows.texts.append(text)
        if data.context:
            rows.contexts.append(_fill_template(data.context, by_name))
        if self.wanted.texts and not any(cell.strip() for cell in cells):
            if self.wanted.split == "test":
                self._empty_texts.append(str(record.line))
            else:
                message = "the text is empty. Remove the row or restore its text."
                self.problems.add(message, record.line)

    def _read_group(self, record: Record, row_id: str) -> None:
        data = self.task.data
        if data.group_column in self.where:
            group = record.cells[self.where[data.group_column]]
            if not group.strip():
                message = f"the group '{data.group_column}' is empty. Fill the cell."
                self.problems.add(message, record.line)
            self.rows.groups.append(group)
        elif data.group_pattern:
            match = re.search(data.group_pattern, row_id)
            if match is None:
                message = f"id '{row_id}' does not match data.group_pattern. Correct one."
                self.problems.add(message, record.line)
            else:
                self.rows.groups.append("|".join(match.groups()) or match.group())

    def _note_width(self, record: Record) -> None:
        width = len(self.header)
        why = (
            "A delimiter in a text needs quotes around the text."
            if len(record.cells) > width
            else "Add the missing cells."
        )
        self.problems.add(
            f"{len(record.cells)} cells where {width} are expected ({','.join(self.header)}). "
            f"{why}",
            record.line,
        )

    def _check_annotated(self, parts: list[NDArray[np.float64]]) -> None:
        """Say so where no row has a label, or refuse that where labels are needed."""
        pairs = zip(self.task.targets, parts, strict=True)
        main = [labels for target, labels in pairs if not target.auxiliary]
        if not self.rows.ids or not all(np.isnan(labels).all() for labels in main):
            return
        present = any(reader.needs or reader.labels for reader in self.readers)
        if self.wanted.labels and not self.problems.count:
            self.problems.add("labels are blank in every row; this split needs labels.")
        elif self.wanted.labels is None and present and self.readers[0].target.layout == "columns":
            self.rows.notes.append(Note("labels are blank: read as not annotated"))


def _open(task: Task, path: Path, wanted: Wanted) -> tuple[Table, tuple[str, ...]]:
    """The records below the header, and the header."""
    data, spelling = task.data, task.data.spelling_for(path, wanted.language)
    # One file for all languages or splits is read again and again: its rows stay in memory.
    shared = bool(data.language_column or data.split_column)
    read = _read_shared if shared and path.is_file() else _read_whole
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    table = read(path, _form_of(task, path, spelling), changed)
    records = table.records
    has_header = data.header if spelling.header is None else spelling.header
    if has_header or (data.format or format_of(path)) != "table":
        if not records:
            raise KitError(f"{path}: the file is empty. Expected a header line and rows.")
        header, records = records[0].cells, records[1:]
    elif not wanted.texts and records and len(records[0].cells) == 1:
        header = (data.label_column,)
    else:
        header = data.columns
    return replace(table, records=records), spelling.columns or header


def _form_of(task: Task, path: Path, spelling: Spelling) -> Form:
    data = task.data
    return Form(
        format=data.format or format_of(path),
        delimiter=spelling.delimiter or data.delimiter,
        quoted=data.quoted if spelling.quoted is None else spelling.quoted,
        split_from_right=len(data.columns) - 1 if data.split_from_right else 0,
        encoding=spelling.encoding or data.encoding,
        id_column=data.id_column,
        max_bytes=int(data.max_megabytes * 1e6),
    )


def _read_whole(path: Path, form: Form, changed: int) -> Table:
    """Read a file; `changed` is the time of its last change, by which a copy is known."""
    return read_table(path, form) if form.format == "table" else read_objects(path, form)


_read_shared = lru_cache(maxsize=1)(_read_whole)


def _describe_wanted(task: Task, wanted: Wanted) -> str:
    words = [f"split '{wanted.split_of_rows}'"] if task.data.split_column else []
    words += [f"language '{wanted.language}'"] if task.data.language_column else []
    return " and ".join(words) or "this task"


def _fill_template(template: str, cells: Mapping[str, str]) -> str:
    """Put a row's cells into a template; one without braces is a column's name."""
    if "{" not in template:
        return cells[template]
    return re.sub(r"\{([^{}]*)\}", lambda match: cells[match.group(1)], template)
