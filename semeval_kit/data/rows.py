"""Rows of one file, whatever its form: opened, read column by column, refused with all problems."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from semeval_kit.data.columns import ReadRows, RowReader
from semeval_kit.data.labels import Wanted
from semeval_kit.data.table import (
    Form,
    Problems,
    Table,
    format_of,
    read_objects,
    read_table,
    unit_of,
)
from semeval_kit.data.texts import Note
from semeval_kit.errors import KitError
from semeval_kit.task.schema import Spelling
from semeval_kit.task.task import Task


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
    split = wanted.part if wanted.split == "gold" else wanted.split
    words = [f"split '{split}'"] if task.data.split_column else []
    words += [f"language '{wanted.language}'"] if task.data.language_column else []
    return " and ".join(words) or "this task"


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
