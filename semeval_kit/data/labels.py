"""Labels of one target: what the organisers wrote in its cells, as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.table import Problems, Record
from semeval_kit.data.texts import Note
from semeval_kit.plurals import count_noun
from semeval_kit.task.codec import (
    SUM_TOLERANCE,
    describe_values,
    read_number,
    read_value,
    split_names,
)
from semeval_kit.task.schema import Target
from semeval_kit.task.task import Task, nearest

_NAN = float("nan")
_TRUTH_WORDS = {"true", "false", "yes", "no"}


@dataclass(frozen=True)
class Wanted:
    """What is read from a file."""

    language: str
    split: str
    """train, dev, test or gold."""
    labels: bool | None
    """Whether labels must be there (True), are left out (False), or are taken if there."""
    part: str = "test"
    """Of a gold file that holds several splits: the one that is read."""
    texts: bool = True
    """False for gold files, which may hold ids and labels alone."""

    @property
    def split_of_rows(self) -> str:
        """The split whose rows are read."""
        return self.part if self.split == "gold" else self.split


class LabelReader:
    """Reads the labels of one target, then decides about blank columns."""

    def __init__(
        self,
        task: Task,
        target: Target,
        wanted: Wanted,
        header: Mapping[str, int],
        problems: Problems,
    ) -> None:
        self.task, self.target, self.problems = task, target, problems
        self.language, self.needed = wanted.language, wanted.labels
        self.lenient = target.auxiliary or len(task.main_targets) > 1
        """A blank cell is "not annotated", because the row may still teach another target."""
        is_main, in_columns = target.name == "main", target.layout == "columns"
        self._place = {label: i for i, label in enumerate(target.labels)}
        labels_there = task.labels_for(wanted.language) if is_main else target.labels
        self.labels_here = tuple(label for label in labels_there if label in self._place)
        usual = set(self.labels_here)
        where = {} if target.file or wanted.labels is False else header
        column_of = dict(zip(target.labels, target.columns, strict=False)) if in_columns else {}
        self.labels = {
            label: where[column_of[label]]
            for label in self.labels_here
            if column_of.get(label) in where
        }
        """Label -> position, for the layout columns."""
        self.foreign = {
            label: where[label]
            for label in (target.labels if in_columns and is_main else ())
            if label in where and label not in usual and label not in task.data.ignored_columns
        }
        """Labels of other languages of the task, which must be blank here -> position."""
        self.names = None if in_columns else where.get(target.column)
        """Position of the column that names labels, for the other layouts."""
        takes = [column_of[label] for label in self.labels_here] if in_columns else [target.column]
        takes = [] if target.file else takes
        optional = set(task.labels.optional.get(wanted.language, ())) if is_main else set()
        there = any(name in header for name in takes)
        needed = not target.auxiliary and (wanted.labels or (there and wanted.labels is None))
        self.needs = [name for name in takes if name not in optional] if needed else []
        self._told = [header[name] for name in takes if name in header and target.drop]
        """Positions of the cells that may say that the row is left out."""
        self.named = {*takes}
        if in_columns and is_main:
            self.named |= {label for label in target.labels if label in header}
        self.blank_words = {"", *target.blank_words}
        self._rows: list[list[float]] = []
        self._lines: list[int] = []
        self._whole_floats: Counter[str] = Counter()
        self._parsed: dict[str, float | None] = {}
        self._outside: dict[str, dict[int, float]] = {}

    def dropped_cell(self, record: Record) -> str | None:
        """The cell because of which the row is left out, if there is one."""
        cells = (record.cells[position].strip() for position in self._told)
        return next((cell for cell in cells if cell in self.target.drop), None)

    def read(self, record: Record) -> None:
        """Read the labels of a row."""
        row = [_NAN] * len(self.target.labels)
        for label, position in self.labels.items():
            value = self._read_value(record, label, position)
            row[self._place[label]] = value
        for label, position in self.foreign.items():
            if record.cells[position].strip() not in self.blank_words:
                self.problems.add(
                    f"label '{label}' has value {record.cells[position]!r}, but language "
                    f"'{self.language}' has no such label in {self.task.name}. Blank the column.",
                    record.line,
                )
        if self.names is not None:
            self._read_names(record, row)
        self._rows.append(row)
        self._lines.append(record.line)

    def finish(self, notes: list[Note]) -> NDArray[np.float64]:
        """The labels, `(n_examples, n_labels of this target)`, NaN where not annotated."""
        names, n_rows = self.target.labels, len(self._rows)
        labels = np.array(self._rows, dtype=np.float64).reshape(n_rows, len(names))
        blank_columns = [label for label in self.foreign if n_rows]
        for label in self.labels:
            blank = np.isnan(labels[:, self._place[label]])
            if n_rows and blank.all():
                blank_columns.append(label)
            elif blank.any() and not self.lenient:
                self._note_blank_cells(label, blank)
        everything_blank = n_rows and np.isnan(labels).all()
        if blank_columns and not (everything_blank and (self.needed is None or self.lenient)):
            shown = ", ".join(blank_columns)
            notes.append(Note(f"blank label columns, read as not annotated: {shown}"))
        # Targets with a file of their own are told about after they are joined.
        if self.lenient and n_rows and self.needed is not False and not self.target.file:
            count = int(np.isnan(labels).all(axis=1).sum())
            if count:
                unannotated = count_noun(count, "row is", "rows are")
                notes.append(Note(f"{unannotated} not annotated for '{self.target.name}'"))
        for shown, count in sorted(self._whole_floats.items()):
            spelled = count_noun(count, "label is", "labels are")
            notes.append(Note(f"{spelled} spelled {shown!r}: accepted as whole numbers"))
        self._note_outside()
        if self.target.kind == "distribution":
            self._check_sums(labels)
        if self.target.binarize:
            labels = np.where(np.isnan(labels), labels, (labels > 0).astype(np.float64))
        return labels

    def _read_value(self, record: Record, label: str, position: int) -> float:
        cell = record.cells[position]
        if cell not in self._parsed:
            blank = cell.strip() in self.blank_words
            self._parsed[cell] = _NAN if blank else read_value(self.target, cell)
        value = self._parsed[cell]
        if value is None and self.target.kind == "regression":
            number = read_number(self.target, cell)
            if not np.isnan(number):
                self._outside.setdefault(label, {})[record.line] = number
                return 0.0
        if value is None:
            expected = describe_values(self.target)
            remedy = "Correct the cell."
            if cell.strip().lower() in _TRUTH_WORDS:
                remedy = 'Map the words in the task file: values = { TRUE = "1", FALSE = "0" }.'
            elif "," in cell and self.target.is_numeric:
                remedy = "Write numbers with a point."
            elif self.target.is_numeric and cell.strip() and not any(map(str.isalnum, cell)):
                remedy = f"If it stands for no label, say so: blank_words = [{cell.strip()!r}]."
            self.problems.add(
                f"label '{label}' is {cell!r}; expected {expected}. {remedy}", record.line
            )
            return 0.0
        if "." in cell and not self.target.is_numeric:
            self._whole_floats[cell.strip()] += 1
        return value

    def _note_outside(self) -> None:
        """Say once for each label which rows lie outside the range, and what range holds them."""
        for label, numbers in self._outside.items():
            low, high = self.target.limits
            least, most = min(numbers.values()), max(numbers.values())
            key = "range" if self.target.name == "main" else f"targets.{self.target.name}.range"
            wide = f"[{min(low, least):.12g}, {max(high, most):.12g}]"
            for line in numbers:
                self.problems.add(
                    f"label '{label}' lies outside the range {low:g} to {high:g} (least "
                    f"{least:g}, largest {most:g}). Correct the cells, or if they are right set "
                    f"{key} = {wide} in the task file.",
                    line,
                )

    def _note_blank_cells(self, label: str, blank: NDArray[np.bool_]) -> None:
        for row in np.flatnonzero(blank):
            self.problems.add(
                f"label '{label}' is blank; expected {describe_values(self.target)}. Fill the "
                "cell, or blank the whole column if the label is not annotated.",
                self._lines[row],
            )

    def _read_names(self, record: Record, row: list[float]) -> None:
        assert self.names is not None
        target, cell = self.target, record.cells[self.names].strip()
        if cell in self.blank_words and not (cell and cell == target.none_word):
            if self.needed and not self.lenient:
                self.problems.add("the label is blank. Fill the cell.", record.line)
            return
        for label in self.labels_here:
            row[self._place[label]] = 0.0
        for name in split_names(target, cell):
            if name in self.labels_here:
                row[self._place[name]] = 1.0
            else:
                self.problems.add(
                    f"label {name!r} is unknown{nearest(name, self.labels_here)}; expected one of "
                    f"{', '.join(self.labels_here)}. Correct it, or map it in the task file under "
                    f"{'data' if target.name == 'main' else f'targets.{target.name}'}.values, "
                    "drop or blank_words.",
                    record.line,
                )

    def _check_sums(self, labels: NDArray[np.float64]) -> None:
        sums = labels.sum(axis=1)
        for row in np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE):
            self.problems.add(
                f"the shares of '{self.target.name}' sum to {sums[row]:.3g}, not 1. Correct them.",
                self._lines[row],
            )
