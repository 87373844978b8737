"""Label cells: what the organisers wrote, as numbers."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.columns import Columns
from semeval_kit.data.table import Problems, Record
from semeval_kit.task.task import Task, nearest

_INTEGER = re.compile(r"[0-9]+", re.ASCII)
_WHOLE_FLOAT = re.compile(r"([0-9]+)\.0+", re.ASCII)
_NAN = float("nan")


class LabelReader:
    """Reads the labels of one file, row by row, then decides about blank columns."""

    def __init__(
        self,
        task: Task,
        language: str,
        columns: Columns,
        needed: bool | None,
        problems: Problems,
    ) -> None:
        self.task, self.language, self.columns = task, language, columns
        self.needed, self.problems = needed, problems
        self.notes: list[str] = []
        self._index = {label: i for i, label in enumerate(task.all_labels)}
        self._blank_words = {"", *task.data.blank_words}
        self._rows: list[list[float]] = []
        self._lines: list[int] = []
        self._whole_floats: Counter[str] = Counter()
        self._parsed: dict[str, float | None] = {}

    def read(self, record: Record) -> None:
        """Read the labels of a row; what is wrong is added to the problems."""
        row = [_NAN] * len(self._index)
        for label, position in self.columns.labels.items():
            row[self._index[label]] = self._read_value(record, label, position)
        for label, position in self.columns.foreign.items():
            if record.cells[position].strip() not in self._blank_words:
                self.problems.add(
                    f"label '{label}' has value {record.cells[position]!r}, but language "
                    f"'{self.language}' has no such label in {self.task.name}. Blank the column.",
                    record.line,
                )
        if self.columns.names is not None:
            self._read_names(record, row)
        self._rows.append(row)
        self._lines.append(record.line)

    def finish(self) -> NDArray[np.float64]:
        """The labels, (n_examples, n_labels), NaN where not annotated."""
        labels = np.array(self._rows, dtype=np.float64).reshape(len(self._rows), len(self._index))
        dropped = [label for label in self.columns.foreign if self._rows]
        for label in self.columns.labels:
            blank = np.isnan(labels[:, self._index[label]])
            if self._rows and blank.all():
                dropped.append(label)
            elif blank.any():
                self._note_blank_cells(label, blank)
        everything_blank = self._rows and np.isnan(labels).all()
        if everything_blank and self.needed and not self.problems.count:
            self.problems.add("labels are blank in every row; this split needs labels.")
        elif dropped and not (everything_blank and self.needed is None):
            self.notes.append(f"blank label columns, read as not annotated: {', '.join(dropped)}")
        elif everything_blank and self.needed is None and self.columns.labels:
            self.notes.append("labels are blank: read as not annotated")
        for shown, count in sorted(self._whole_floats.items()):
            self.notes.append(f"{count} labels are spelled {shown!r}: accepted as whole numbers")
        if self.task.data.binarize:
            labels = np.where(np.isnan(labels), labels, (labels > 0).astype(np.float64))
        return labels

    def _read_value(self, record: Record, label: str, position: int) -> float:
        cell = record.cells[position]
        if cell not in self._parsed:
            self._parsed[cell] = self._parse(cell)
        value = self._parsed[cell]
        if value is None:
            self.problems.add(
                f"label '{label}' is {cell!r}; expected {self._expected()}. Correct the cell.",
                record.line,
            )
            return 0.0
        if "." in cell:
            self._whole_floats[cell.strip()] += 1
        return value

    def _parse(self, cell: str) -> float | None:
        text = cell.strip()
        if text in self._blank_words:
            return _NAN
        whole = _WHOLE_FLOAT.fullmatch(text)
        digits = whole.group(1) if whole else text
        if not _INTEGER.fullmatch(digits) or int(digits) > self.task.file_max_value:
            return None
        return float(int(digits))

    def _expected(self) -> str:
        largest = self.task.file_max_value
        return "0 or 1" if largest == 1 else f"a whole number from 0 to {largest}"

    def _note_blank_cells(self, label: str, blank: NDArray[np.bool_]) -> None:
        for row in np.flatnonzero(blank):
            self.problems.add(
                f"label '{label}' is blank; expected {self._expected()}. Fill the cell, or blank "
                "the whole column if the label is not annotated.",
                self._lines[row],
            )

    def _read_names(self, record: Record, row: list[float]) -> None:
        data, own = self.task.data, self.task.labels_for(self.language)
        assert self.columns.names is not None
        cell = record.cells[self.columns.names].strip()
        if cell in self._blank_words:
            if self.needed:
                self.problems.add("the label is blank. Fill the cell.", record.line)
            return
        for label in own:
            row[self._index[label]] = 0.0
        joined = data.label_layout == "joined"
        if joined and cell == data.none_word and cell not in own:
            return
        for name in cell.split(data.label_joiner) if joined else [cell]:
            label = data.values.get(name.strip(), name.strip())
            if label in own:
                row[self._index[label]] = 1.0
            else:
                self.problems.add(
                    f"label {name.strip()!r} is unknown{nearest(name.strip(), own)}; expected one "
                    f"of {', '.join(own)}. Correct it, or map it in the task file under "
                    "data.values.",
                    record.line,
                )
