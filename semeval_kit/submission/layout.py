"""The layout of a prediction file: its header, and its rows read strictly against a reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.reference import Reference
from semeval_kit.data.table import Problems, Record, Table, parse_table
from semeval_kit.task.schema import SPLITS
from semeval_kit.task.task import Task, nearest

_SPACES = " \t\r\n"
"""Spaces that are stripped from values; others, such as the no-break space, are refused."""


@dataclass(frozen=True)
class Predictions:
    """A prediction file: what it predicts, or what is wrong with it."""

    preds: NDArray[np.int64]
    """(n_examples, n_labels) in the reference's order; empty where there are problems."""
    labels: tuple[str, ...]
    problems: Problems
    notes: tuple[str, ...]


def expected_header(task: Task, language: str, reference: Reference | None) -> tuple[str, ...]:
    """Header of the prediction file of a language, from the organisers' own file if known."""
    layout = task.submission
    labels = reference.labels if reference else task.labels_for(language)
    names = labels if layout.label_layout == "columns" else (layout.label_column,)
    return (*([layout.id_column] if layout.id_column else []), *layout.text_columns, *names)


def read_predictions(
    task: Task, data: bytes, name: str, language: str, reference: Reference | None
) -> Predictions:
    """Read a prediction file; without a reference ids and row count are not checked."""
    problems = Problems(name)
    layout = task.submission
    table = parse_table(data, problems, delimiter=layout.delimiter, quoted=layout.quoted)
    labels = reference.labels if reference else task.labels_for(language)
    rows = _RowReader(task, labels, reference, problems)
    if not problems.count:
        header = expected_header(task, language, reference)
        for record in _check_header(task, table, header, problems):
            rows.read(record, header)
        rows.check_ids()
    if not problems.count and not rows.values:
        problems.add("has no predictions. Write one row per id.", rule="no_rows")
    preds = rows.finish() if not problems.count else np.empty((0, len(labels)), dtype=np.int64)
    return Predictions(preds, labels, problems, (*table.notes, *rows.notes))


class _RowReader:
    """Reads rows one by one; what is wrong is added to the problems."""

    def __init__(
        self, task: Task, labels: tuple[str, ...], reference: Reference | None, problems: Problems
    ) -> None:
        self.task, self.labels = task, labels
        self.reference, self.problems = reference, problems
        self.values: list[list[int]] = []
        self.lines: dict[str, int] = {}
        self.notes: list[str] = []
        self.n_rows = self.n_spaced = self.n_changed_texts = 0
        self.allowed = {str(value): value for value in range(task.max_value + 1)}
        self.echoes: dict[str, tuple[str, ...]] = {}
        if reference and reference.cells and task.submission.text_columns:
            self.echoes = dict(zip(reference.ids, reference.cells, strict=True))

    def read(self, record: Record, header: tuple[str, ...]) -> None:
        layout = self.task.submission
        self.n_rows += 1
        cells = record.cells
        if len(cells) != len(header):
            rule = "extra_cells" if len(cells) > len(header) else "short_row"
            message = f"{len(cells)} cells where the header has {len(header)}. Correct the row."
            self.problems.add(message, record.line, rule)
            if len(cells) < len(header):
                return
        start = 0
        row_id = str(self.n_rows)
        if layout.id_column:
            row_id, start = self._check_id(cells[0], record.line), 1
        end = start + len(layout.text_columns)
        self.n_changed_texts += self.echoes.get(row_id, cells[start:end]) != cells[start:end]
        if layout.label_layout == "columns":
            values = self._read_numbers(row_id, cells[end : len(header)], record.line)
        else:
            values = self._read_names(cells[end], record.line)
        self.values.append(values)

    def check_ids(self) -> None:
        """Compare ids, or row counts where there are no ids, with the reference."""
        if self.reference is None or not self.n_rows:
            return
        wanted = len(self.reference.ids)
        if self.n_rows != wanted:
            self.problems.add(
                f"expected {wanted} rows, received {self.n_rows}. Predict every row of "
                f"{self.reference.place} once.",
                rule="row_count",
            )
        if not self.task.submission.id_column:
            return
        known = set(self.reference.ids)
        missing = [row_id for row_id in self.reference.ids if row_id not in self.lines]
        unknown = [row_id for row_id in self.lines if row_id.strip() and row_id not in known]
        if missing:
            why = _explain_ids(self.task, unknown, self.reference.ids)
            self.problems.add(
                f"{len(missing)} ids are missing (first: {', '.join(missing[:3])}).{why}",
                rule="missing_ids",
            )
        if unknown:
            first = ", ".join(repr(row_id)[1:-1] for row_id in unknown[:3])
            self.problems.add(
                f"{len(unknown)} ids are not in {self.reference.place} (first: {first}).",
                rule="unknown_ids",
            )

    def finish(self) -> NDArray[np.int64]:
        preds = np.array(self.values, dtype=np.int64).reshape(self.n_rows, len(self.labels))
        if self.n_spaced:
            self.notes.append(f"{self.n_spaced} values have spaces around them: accepted")
        if self.n_changed_texts:
            self.notes.append(f"{self.n_changed_texts} echoed texts differ from the test file")
        if self.reference is not None and self.task.submission.id_column:
            position = {row_id: i for i, row_id in enumerate(self.lines)}
            preds = preds[[position[row_id] for row_id in self.reference.ids]]
        return preds

    def _check_id(self, row_id: str, line: int) -> str:
        if not row_id.strip():
            self.problems.add("the id is empty. Give the row its id.", line, "empty_id")
        elif row_id in self.lines:
            first = self.lines[row_id]
            message = f"id '{row_id}' is already on line {first}. Keep one of the rows."
            self.problems.add(message, line, "duplicate_id")
        elif row_id != row_id.strip():
            message = f"id {row_id!r} has spaces around it. Write it as in the test file."
            self.problems.add(message, line, "id_spaces")
            row_id = row_id.strip()
        self.lines.setdefault(row_id, line)
        return row_id

    def _read_numbers(self, row_id: str, cells: tuple[str, ...], line: int) -> list[int]:
        values = []
        for label, cell in zip(self.labels, cells, strict=True):
            text = cell.strip(_SPACES)
            value = self.allowed.get(text)
            if value is None:
                wanted = ", ".join(list(self.allowed)[:-1]) + f" or {list(self.allowed)[-1]}"
                self.problems.add(
                    f"id {row_id}: label '{label}' is {cell!r}; expected {wanted}. Write a whole "
                    "number.",
                    line,
                    "value",
                )
            elif text != cell:
                self.n_spaced += 1
            values.append(value or 0)
        return values

    def _read_names(self, cell: str, line: int) -> list[int]:
        layout = self.task.submission
        values = [0] * len(self.labels)
        text = cell.strip(_SPACES)
        if text != cell:
            self.n_spaced += 1
        joined = layout.label_layout == "joined"
        if joined and text and text == layout.none_word and text not in self.labels:
            return values
        names = text.split(layout.label_joiner) if joined else [text]
        for name, count in Counter(names).items():
            if name not in self.labels or count > 1:
                hint = nearest(name, self.labels)
                self.problems.add(
                    f"label {name!r} is unknown or doubled{hint}; expected names from "
                    f"{', '.join(self.labels)}.",
                    line,
                    "value",
                )
            else:
                values[self.labels.index(name)] = 1
        return values


def _check_header(
    task: Task, table: Table, header: tuple[str, ...], problems: Problems
) -> tuple[Record, ...]:
    """The rows below a header that is right; none where it is wrong."""
    if not task.submission.header:
        return table.records
    if not table.records:
        problems.add("the file is empty. Write the header and a row per id.", rule="empty")
        return ()
    first = table.records[0]
    if first.line != 1:
        problems.add("the first line is blank. Begin with the header.", 1, "blank_first_line")
    elif first.cells != header:
        why = _explain_header(first.cells, header)
        problems.add(
            f"the header is {_shorten(','.join(first.cells))}; expected "
            f"{_shorten(','.join(header))}. {why}",
            1,
            "header",
        )
    return table.records[1:] if not problems.count else ()


def _shorten(text: str, length: int = 500) -> str:
    return repr(text) if len(text) <= length else f"{text[:length]!r}... ({len(text)} characters)"


def _shorten_list(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name[:100]) for name in names[:10]) + more


def _explain_header(found: tuple[str, ...], header: tuple[str, ...]) -> str:
    plain = [name.strip().lower() for name in found]
    wanted, given = set(header), set(found)
    extra = [name for name in found if name not in wanted]
    missing = [name for name in header if name not in given]
    if found and found[0].startswith("\ufeff"):
        return "There are two byte order marks (BOM): save the file without one."
    if len(found) == 1 and any(mark in found[0] for mark in ";\t,"):
        return "The cells are not separated as in the test file: use its delimiter."
    if plain == [name.lower() for name in header]:
        return "Names must be spelled exactly so: capitals and spaces make the scorer fail."
    if sorted(found) == sorted(header):
        return "The columns are in another order: put them in the expected one."
    if not found or found[0] in ("", "Unnamed: 0"):
        return "The first column is an index: write the file without one."
    if extra and not missing:
        return f"Remove the column {_shorten_list(extra)}."
    if missing and not extra:
        return f"Add the column {_shorten_list(missing)}."
    return "Take the header from the organisers' test file."


def _explain_ids(task: Task, unknown: list[str], ids: tuple[str, ...]) -> str:
    if not unknown:
        return ""
    found, wanted = unknown[0].split("_"), ids[0].split("_")
    if len(found) != len(wanted):
        return " The ids are of another kind than those of the test file."
    for mine, theirs in zip(found, wanted, strict=True):
        if mine != theirs and not (mine.isdigit() and theirs.isdigit()):
            kind = "split" if mine in SPLITS else "track"
            kind = "language" if mine in task.languages else kind
            return f" The ids say '{mine}' where '{theirs}' is expected: another {kind}?"
    return ""
