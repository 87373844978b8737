"""Reading prediction files, and saying in words for people what is wrong with one."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.reference import Reference
from semeval_kit.data.table import Form, Problems, Record, decode_text, parse_table
from semeval_kit.plurals import count_noun
from semeval_kit.submission.archive import Block, header_of, lay_out
from semeval_kit.task.codec import split_names
from semeval_kit.task.schema import SPLITS, Member, Target
from semeval_kit.task.task import Task, nearest

MAX_PROBLEMS = 1000
"""Reading stops after so many problems of a file."""
MAX_ROWS_OVER = 100_000
"""So many rows beyond those that are expected are read."""
_SPACES = " \t\r\n"
"""Spaces that are stripped from values; others, such as the no-break space, are refused."""


@dataclass(frozen=True)
class Predictions:
    """A prediction file: what it predicts, or what is wrong with it."""

    preds: NDArray[np.generic]
    """`(n_examples, n_labels)` in the reference's order: int64, or float64 where a target is of
    real numbers or is not in this file (NaN); empty where there are problems."""
    labels: tuple[str, ...]
    problems: Problems
    notes: tuple[str, ...]
    blocks: tuple[Block, ...]


def read_predictions(
    task: Task,
    data: bytes,
    name: str,
    language: str,
    reference: Reference | None,
    layout: Member | None = None,
) -> Predictions:
    """Read a prediction file; without a reference ids and row count are not checked."""
    layout = layout or task.submission.layouts[0]
    problems = Problems(name)
    labels = reference.labels if reference else task.name_answers(task.labels_for(language))
    blocks = lay_out(task, layout, labels)
    rows = _RowReader(task, layout, blocks, reference, problems)
    header, notes = header_of(layout, blocks), list[str]()
    for record in _read_records(layout, data, header, problems, notes):
        rows.read(record, header)
        if problems.count >= MAX_PROBLEMS:
            problems_so_far = count_noun(problems.count, "problem")
            notes.append(f"reading stopped at line {record.line}, after {problems_so_far}")
            break
        if reference and rows.n_rows > MAX_ROWS_OVER + len(reference.ids):
            problems.add(
                f"expected {count_noun(len(reference.ids), 'row')}, received more than "
                f"{rows.n_rows - 1}. Predict every row of {reference.place} once.",
                rule="row_count",
            )
            break
    else:
        rows.check_ids()
    if not problems.count and not rows.values:
        problems.add("has no predictions. Write one row per id.", rule="no_rows")
    preds: NDArray[np.generic] = np.empty((0, len(labels)), dtype=np.int64)
    if not problems.count:
        preds = rows.finish(len(labels))
    return Predictions(preds, labels, problems, (*notes, *rows.notes), blocks)


class _RowReader:
    """Reads rows one by one; what is wrong is added to the problems."""

    def __init__(
        self,
        task: Task,
        layout: Member,
        blocks: tuple[Block, ...],
        reference: Reference | None,
        problems: Problems,
    ) -> None:
        self.task, self.layout, self.blocks = task, layout, blocks
        self.reference, self.problems = reference, problems
        self.values: list[list[float]] = []
        self.lines: dict[str, int] = {}
        self.notes: list[str] = []
        self.n_rows = self.n_spaced = self.n_changed_texts = self.n_outside = 0
        self.places = {
            block.target.name: {label: i for i, label in enumerate(block.target.labels)}
            for block in blocks
        }
        self.echoes: dict[str, tuple[str, ...]] = {}
        if reference and reference.cells and layout.text_columns:
            self.echoes = dict(zip(reference.ids, reference.cells, strict=True))

    def read(self, record: Record, header: tuple[str, ...]) -> None:
        self.n_rows += 1
        cells = record.cells
        if len(cells) != len(header):
            rule = "extra_cells" if len(cells) > len(header) else "short_row"
            counted = count_noun(len(cells), "cell")
            message = f"{counted} where the header has {len(header)}. Correct the row."
            self.problems.add(message, record.line, rule)
            if len(cells) < len(header):
                return
        start = 0
        row_id = str(self.n_rows)
        if self.layout.id_column:
            row_id, start = self._check_id(cells[0], record.line), 1
        end = start + len(self.layout.text_columns)
        self.n_changed_texts += self.echoes.get(row_id, cells[start:end]) != cells[start:end]
        values: list[float] = []
        for block in self.blocks:
            cells_of_block = cells[end : end + len(block.header)]
            end += len(block.header)
            if block.target.layout == "columns":
                values += self._read_numbers(block, row_id, cells_of_block, record.line)
            else:
                values += self._read_names(block, cells_of_block[0], record.line)
        self.values.append(values)

    def check_ids(self) -> None:
        """Compare ids, or row counts where there are no ids, with the reference."""
        if self.reference is None or not self.n_rows:
            return
        wanted = len(self.reference.ids)
        if self.n_rows != wanted:
            self.problems.add(
                f"expected {count_noun(wanted, 'row')}, received {self.n_rows}. "
                f"Predict every row of {self.reference.place} once.",
                rule="row_count",
            )
        if not self.layout.id_column:
            return
        expected = set(self.reference.ids)
        missing = [row_id for row_id in self.reference.ids if row_id not in self.lines]
        unknown = [row_id for row_id in self.lines if row_id.strip() and row_id not in expected]
        if missing:
            why = explain_ids(self.task, unknown, self.reference.ids)
            self.problems.add(
                f"{count_noun(len(missing), 'id is', 'ids are')} missing "
                f"(first: {', '.join(missing[:3])}).{why}",
                rule="missing_ids",
            )
        if unknown:
            first = ", ".join(shorten(row_id, 100)[1:-1] for row_id in unknown[:3])
            self.problems.add(
                f"{count_noun(len(unknown), 'id is', 'ids are')} not in {self.reference.place} "
                f"(first: {first}).",
                rule="unknown_ids",
            )

    def finish(self, width: int) -> NDArray[np.generic]:
        """Answers in the reference's order; columns of targets that are not here are NaN."""
        columns = [column for b in self.blocks for column in range(width)[b.columns]]
        answers = np.full((self.n_rows, width), np.nan)
        answers[:, columns] = np.array(self.values, dtype=np.float64).reshape(self.n_rows, -1)
        for count, message in (
            (self.n_spaced, "values have spaces around them: accepted"),
            (self.n_changed_texts, "echoed texts differ from the test file"),
            (self.n_outside, "numbers lie outside the target's range"),
        ):
            if count:
                self.notes.append(f"{count} {message}")
        if self.reference is not None and self.layout.id_column:
            position = {row_id: i for i, row_id in enumerate(self.lines)}
            answers = answers[[position[row_id] for row_id in self.reference.ids]]
        if np.isnan(answers).any() or any(block.target.is_numeric for block in self.blocks):
            return answers
        return answers.astype(np.int64)

    def _check_id(self, row_id: str, line: int) -> str:
        if not row_id.strip():
            self.problems.add("the id is empty. Give the row its id.", line, "empty_id")
        elif row_id in self.lines:
            first = self.lines[row_id]
            shown = shorten(row_id, 100)[1:-1]
            message = f"id '{shown}' is already on line {first}. Keep one of the rows."
            self.problems.add(message, line, "duplicate_id")
        elif row_id != row_id.strip():
            message = (
                f"id {shorten(row_id, 100)} has spaces around it. Write it as in the test file."
            )
            self.problems.add(message, line, "id_spaces")
            row_id = row_id.strip()
        self.lines.setdefault(row_id, line)
        return row_id

    def _read_numbers(
        self, block: Block, row_id: str, cells: tuple[str, ...], line: int
    ) -> list[float]:
        """The cells of the layout columns: exactly 0, 1, ..., or real numbers."""
        values, numeric, largest = [], block.target.is_numeric, block.target.largest
        low, high = block.target.limits
        for label, cell in zip(block.header, cells, strict=True):
            text = cell.strip(_SPACES)
            value = _parse_number(text) if numeric else _parse_whole(text, largest)
            if value is None:
                wanted = "a number. Write one"
                if not numeric:
                    digits = [str(k) for k in range(largest + 1)]
                    wanted = f"{', '.join(digits[:-1])} or {digits[-1]}. Write a whole number"
                self.problems.add(
                    f"id {shorten(row_id, 100)[1:-1]}: label '{label}' is {shorten(cell, 100)}; "
                    f"expected {wanted}.",
                    line,
                    "value",
                )
            else:
                self.n_spaced += text != cell
                self.n_outside += numeric and not low <= value <= high
            values.append(value or 0.0)
        return values

    def _read_names(self, block: Block, cell: str, line: int) -> list[float]:
        target, text = block.target, cell.strip(_SPACES)
        values = [0.0] * len(target.labels)
        self.n_spaced += text != cell
        places = self.places[target.name]
        for name, count in Counter(_split_strictly(target, text)).items():
            if name not in places or count > 1:
                hint = nearest(name[:100], target.labels)
                self.problems.add(
                    f"label {shorten(name, 100)} is unknown or doubled{hint}; expected names from "
                    f"{', '.join(target.labels)}.",
                    line,
                    "value",
                )
            else:
                values[places[name]] = 1.0
        return values


def shorten(text: str, length: int = 500) -> str:
    """A text in quotes, cut where it is longer than messages should be."""
    return repr(text) if len(text) <= length else f"{text[:length]!r}... ({len(text)} characters)"


def explain_header(written: tuple[str, ...], header: tuple[str, ...]) -> str:
    """What is wrong with a header, and what to do."""
    plain = [name.strip().lower() for name in written]
    wanted, given = set(header), set(written)
    extra = [name for name in written if name not in wanted]
    missing = [name for name in header if name not in given]
    if written and written[0].startswith("\ufeff"):
        return "There are two byte order marks (BOM): save the file without one."
    if len(written) == 1 and any(mark in written[0] for mark in ";\t,"):
        return "The cells are not separated as in the test file: use its delimiter."
    if plain == [name.lower() for name in header]:
        return "Names must be spelled exactly so: capitals and spaces make the scorer fail."
    if sorted(written) == sorted(header):
        return "The columns are in another order: put them in the expected one."
    if not written or written[0] in ("", "Unnamed: 0"):
        return "The first column is an index: write the file without one."
    if extra and not missing:
        return f"Remove the column {_list_names(extra)}."
    if missing and not extra:
        return f"Add the column {_list_names(missing)}."
    return "Take the header from the organisers' test file."


def explain_ids(task: Task, unknown: list[str], ids: tuple[str, ...]) -> str:
    """How unknown ids differ from the expected ones: another split, track or language."""
    if not unknown:
        return ""
    given_words, wanted_words = unknown[0].split("_"), ids[0].split("_")
    if len(given_words) != len(wanted_words):
        return " The ids are of another kind than those of the test file."
    for given, wanted in zip(given_words, wanted_words, strict=True):
        if given != wanted and not (given.isdigit() and wanted.isdigit()):
            kind = "split" if given in SPLITS else "track"
            kind = "language" if given in task.languages else kind
            return f" The ids say '{given}' where '{wanted}' is expected: another {kind}?"
    return ""


def _read_records(
    layout: Member, data: bytes, header: tuple[str, ...], problems: Problems, notes: list[str]
) -> Iterator[Record]:
    """The rows below a header that is right; none where something is wrong with the file."""
    if layout.is_jsonl:
        text, more = decode_text(data, problems)
        notes += more
        if not problems.count:
            yield from _read_objects(text, header, problems)
        return
    table = parse_table(data, problems, Form(delimiter=layout.delimiter, quoted=layout.quoted))
    notes += table.notes
    if layout.blank_lines == "refused" and b"\n\n" in data.replace(b"\r\n", b"\n"):
        problems.add("holds blank lines. Remove them.", rule="blank_lines")
    records = table.records
    if layout.header and not problems.count:
        if records:
            _check_header(layout, records[0], header, problems)
        else:
            problems.add("the file is empty. Write the header and a row per id.", rule="empty")
        records = records[1:]
    if not problems.count:
        yield from records


def _read_objects(text: str, header: tuple[str, ...], problems: Problems) -> Iterator[Record]:
    """Rows of JSON lines, each an object with the columns as keys and text or a number in each."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
        except (ValueError, RecursionError):
            problems.add("is no JSON. Write one object per line.", number, "json")
            continue
        if not isinstance(row, dict) or set(row) != set(header):
            wanted = ", ".join(header)
            problems.add(f"has not just the keys {wanted}. Write these.", number, "keys")
        elif not all(isinstance(value, str) for value in row.values()):
            problems.add("a value is neither text nor a number. Correct it.", number, "value")
        else:
            yield Record(number, tuple(row[key] for key in header))
        if problems.count >= MAX_PROBLEMS:
            return


def _split_strictly(target: Target, text: str) -> list[str]:
    """The names in a cell; spaces around one of them make it another name."""
    if target.layout == "scoped":
        return split_names(target, text)
    if target.layout == "name":
        return [text]
    if text and text == target.none_word and text not in target.labels:
        return []
    return text.split(target.joiner)


def _parse_whole(text: str, largest: int) -> float | None:
    is_plain = text.isascii() and text.isdecimal() and len(text) < 10 and text == str(int(text))
    return float(text) if is_plain and int(text) <= largest else None


def _parse_number(text: str) -> float | None:
    if not text.isascii() or "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_header(
    layout: Member, first: Record, header: tuple[str, ...], problems: Problems
) -> None:
    compared, compared_to = first.cells, header
    if layout.header_check == "loose" and len(compared) == len(compared_to):
        compared, compared_to = compared[:1], compared_to[:1]
        compared = (
            compared_to if compared[0].strip().lower() == compared_to[0].lower() else compared
        )
    if first.line != 1:
        problems.add("the first line is blank. Begin with the header.", 1, "blank_first_line")
    elif compared != compared_to:
        problems.add(
            f"the header is {shorten(','.join(first.cells))}; expected "
            f"{shorten(','.join(header))}. {explain_header(first.cells, header)}",
            1,
            "header",
        )


def _list_names(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name[:100]) for name in names[:10]) + more
