"""References: the organisers' ids, header and, where known, gold labels for each language."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.cells import LabelReader
from semeval_kit.data.columns import find_columns
from semeval_kit.data.examples import find_file
from semeval_kit.data.table import Problems, Record, read_table
from semeval_kit.errors import KitError
from semeval_kit.task.task import Task


@dataclass(frozen=True)
class Reference:
    """What a prediction file of a language has to match."""

    language: str
    place: str
    ids: tuple[str, ...]
    """Row ids in file order; row numbers from 1 where the task has no ids."""
    labels: tuple[str, ...]
    """Label names in the order of the organisers' header."""
    gold: NDArray[np.int64] | None
    """(n_examples, n_labels) in the order of `labels`; None where the labels are blank."""
    cells: tuple[tuple[str, ...], ...] = ()
    """Text columns that the prediction file echoes."""


Place = str | Path | Mapping[str, Reference]
"""Where references come from: a folder, a file for one language, or references themselves."""


def find_references(
    task: Task, place: Place, *, only: Collection[str] | None = None
) -> dict[str, Reference]:
    """References of every language that a folder or file holds, or of some of them only.

    A folder holds `<language>.csv`, or the gold or test files of the task's own layout; a file
    belongs to the language that its name gives, or to the task's only one.

    Raises:
        KitError: the place holds no language of the task, or a file has problems.
    """
    if not isinstance(place, str | Path):
        return dict(place)
    path = Path(place)
    if path.is_file():
        language = _language_of(task, path)
        return {language: read_reference(task, path, language)}
    if not path.is_dir():
        raise KitError(f"{path}: no such file or folder. Give the gold labels or the test files.")
    files = {
        language: file
        for language in task.scoring.languages
        if (file := _find_reference_file(task, path, language)) is not None
    }
    if not files:
        raise KitError(
            f"{path}: holds no file of a language of {task.name}. Expected <language>.csv "
            f"(such as {task.scoring.languages[0]}.csv) or the layout of the test files."
        )
    wanted = files if only is None else {name: files[name] for name in files if name in only}
    return {language: read_reference(task, file, language) for language, file in wanted.items()}


def read_reference(task: Task, path: Path, language: str) -> Reference:
    """Read ids and labels of a test or gold file; its text columns may be missing.

    Raises:
        KitError: the file has problems.
    """
    data = task.data
    width = len(data.columns) - 1 if data.split_from_right else 0
    table = read_table(
        path,
        delimiter=data.delimiter,
        quoted=data.quoted,
        split_from_right=width,
        max_bytes=int(data.max_megabytes * 1e6),
    )
    problems = Problems(str(path))
    records, header = table.records, data.columns
    if data.header and records:
        header, records = records[0].cells, records[1:]
    elif records and len(records[0].cells) == 1:
        header = (data.label_column,)
    columns = find_columns(task, language, header, None, problems, needs_text=False)
    problems.raise_if_any()
    reader = LabelReader(task, language, columns, None, problems)
    for record in records:
        if len(record.cells) != len(header):
            problems.add(
                f"{len(record.cells)} cells where {len(header)} are expected.", record.line
            )
        else:
            reader.read(record)
    ids = _read_ids(records, columns.id, problems)
    values = reader.finish()
    if not records:
        problems.add("has no rows. Check that it is the right file.")
    problems.raise_if_any()
    order = [task.all_labels.index(label) for label in columns.label_order]
    values = values[:, order]
    echoes = bool(task.submission.text_columns) and len(columns.texts) == len(data.text_columns)
    return Reference(
        language=language,
        place=str(path),
        ids=ids,
        labels=columns.label_order,
        gold=None if np.isnan(values).any() else values.astype(np.int64),
        cells=tuple(tuple(r.cells[i] for i in columns.texts) for r in records) if echoes else (),
    )


def _read_ids(
    records: tuple[Record, ...], position: int | None, problems: Problems
) -> tuple[str, ...]:
    if position is None:
        return tuple(str(number) for number in range(1, len(records) + 1))
    lines: dict[str, int] = {}
    for record in records:
        row_id = record.cells[position] if position < len(record.cells) else ""
        if not row_id.strip():
            problems.add("the id is empty. Give the row its id.", record.line)
        elif row_id in lines:
            problems.add(f"id '{row_id}' is already on line {lines[row_id]}.", record.line)
        lines.setdefault(row_id, record.line)
    return tuple(lines)


def _find_reference_file(task: Task, folder: Path, language: str) -> Path | None:
    plain = folder / f"{language}.csv"
    if plain.is_file():
        return plain
    return find_file(task, folder, "gold", language) or find_file(task, folder, "test", language)


def _language_of(task: Task, path: Path) -> str:
    languages = task.scoring.languages
    if len(languages) == 1:
        return languages[0]
    words = path.name.lower().replace(".", "_").replace("-", "_").split("_")
    named = [language for language in languages if language.lower() in words]
    if len(named) == 1:
        return named[0]
    raise KitError(
        f"{path}: the file's name does not say which language it holds. Name it <language>.csv, "
        f"such as {languages[0]}.csv, or give the folder."
    )
