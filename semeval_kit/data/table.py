"""Files of rows: bytes to records with the line they stand on, all problems in one error.

A delimited table, a list or object of JSON objects, JSON lines and parquet all become the same:
records of text cells, the first of them the header if there is one.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semeval_kit.errors import KitError
from semeval_kit.plurals import count_noun

MAX_SHOWN = 20
MAX_LINES_SHOWN = 5
MAX_BAD_LINES = 1000
"""So many lines that are not UTF-8 are looked for."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_END = "\0end"
"""A line after the last one: NUL never stands in a text that is read."""
_FORMATS = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@dataclass
class Problems:
    """What is wrong with a file, collected so that one error tells all of it.

    What is said of several lines in the same words is told once, with the lines.
    """

    place: str
    unit: str = "line"
    """What the number of a record counts: lines, or rows where a file has no lines."""
    count: int = 0
    _found: dict[tuple[str, str], list[int | None]] = field(default_factory=dict)

    def add(self, message: str, line: int | None = None, rule: str = "") -> None:
        """Note a problem, at a physical line (from 1) if it has one; a rule may have a name."""
        self.count += 1
        self._found.setdefault((message, rule), []).append(line)

    @property
    def lines(self) -> list[str]:
        """The first MAX_SHOWN problems, each as a sentence that begins with the place."""
        return [
            f"{self.place}{_name_lines(lines, self.unit)}: {message}"
            for (message, _), lines in list(self._found.items())[:MAX_SHOWN]
        ]

    @property
    def rules(self) -> list[str]:
        """The name of the rule that each of `lines` breaks; empty where it has none."""
        return [rule for _, rule in list(self._found)[:MAX_SHOWN]]

    @property
    def n_hidden(self) -> int:
        """Problems that `lines` leaves out."""
        return sum(len(lines) for lines in list(self._found.values())[MAX_SHOWN:])

    def raise_if_any(self) -> None:
        """Raise one KitError with all that was noted.

        Raises:
            KitError: there was a problem.
        """
        if self.count:
            hidden = self.n_hidden
            more = f"{self.place}: and {count_noun(hidden, 'more problem')} of this file"
            raise KitError("\n".join([*self.lines, *([more] if hidden else [])]))


@dataclass(frozen=True)
class Record:
    """A row of cells and the physical line on which it starts, or its number in JSON; from 1."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The records of a file, its header among them if it has one, and what was accepted."""

    records: tuple[Record, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """How a file is written."""

    format: str = "table"
    """table, json (a list of objects, or an object of them by id), jsonl or parquet."""
    delimiter: str = ","
    quoted: bool = True
    split_from_right: int = 0
    """Cut each line at its last so many delimiters (for unquoted texts)."""
    encoding: str = "utf-8"
    id_column: str = "id"
    """What the ids of an object by id are called."""
    max_bytes: int = 64_000_000
    """The largest file that is read."""


def read_table(path: Path, form: Form = Form()) -> Table:
    """Read a delimited file; blank lines are skipped and counted in the notes.

    Raises:
        KitError: not readable, too large, in another encoding, NUL bytes, or an open quote.
    """
    problems, data = Problems(str(path)), _read_bytes(path, form.max_bytes)
    if form.encoding.lower() not in ("utf-8", "utf8"):
        try:
            data = data.decode(form.encoding).encode("utf-8")
        except (UnicodeDecodeError, LookupError) as error:
            raise KitError(
                f"{path}: is not {form.encoding} ({error}). Check data.encoding."
            ) from error
    table = parse_table(data, problems, form)
    problems.raise_if_any()
    return table


def parse_table(data: bytes, problems: Problems, form: Form) -> Table:
    """Split the UTF-8 bytes of a file into records; what is wrong is added to the problems."""
    records: list[Record] = []
    blank = 0
    text, notes = decode_text(data, problems)
    if not problems.count and form.quoted:
        records, blank = _split_quoted(text, form.delimiter, problems)
    elif not problems.count:
        records, blank = _split_plain(text, form.delimiter, form.split_from_right)
    if blank:
        notes.append(f"{count_noun(blank, 'blank line')} skipped")
    return Table(tuple(records), tuple(notes))


def read_objects(path: Path, form: Form) -> Table:
    """Read rows that are objects; the first record is the header, the union of their keys.

    Raises:
        KitError: not readable, too large, or not of this form.
    """
    problems, data = Problems(str(path), unit_of(form.format)), _read_bytes(path, form.max_bytes)
    notes: list[str] = []
    if form.format == "parquet":
        from pyarrow import parquet

        rows: list[Any] = parquet.read_table(io.BytesIO(data)).to_pylist()
    else:
        text, notes = decode_text(data, problems)
        problems.raise_if_any()
        rows = list(_load_json(text, form, problems))
        problems.raise_if_any()
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            problems.add("is no object of columns. Check data.format.", number)
    problems.raise_if_any()
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    records = [Record(0, names)] if names else []
    for number, row in enumerate(rows, start=1):
        records.append(Record(number, tuple(spell_value(row.get(name)) for name in names)))
    return Table(tuple(records), tuple(notes))


def format_of(path: Path) -> str:
    """What a file is by its ending: json, jsonl, parquet, or else a delimited table."""
    return _FORMATS.get(path.suffix.lower(), "table")


def unit_of(form: str) -> str:
    """What the records of a form are counted in."""
    return "row" if form in ("json", "parquet") else "line"


def spell_value(value: Any) -> str:
    """A value of JSON or parquet as the cell of a table: nothing is blank, lists are JSON."""
    if value is None or value != value:
        return ""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def explain_misread(header: tuple[str, ...], delimiter: str) -> str:
    """Why a header has none of the columns that are looked for, or nothing if it is not plain."""
    first = header[0].lstrip() if header else ""
    if first.startswith(("{", "[")):
        return 'this looks like JSON, read as a table. Set data.format = "jsonl" or "json".'
    marks = Counter(mark for cell in header for mark in cell if mark in ",;\t|")
    if len(header) == 1 and marks:
        mark = marks.most_common(1)[0][0]
        return (
            f"the cells are separated by {mark!r}, but read with {delimiter!r}. "
            f"Set data.delimiter = {json.dumps(mark)} in the task file."
        )
    return ""


def decode_text(data: bytes, problems: Problems) -> tuple[str, list[str]]:
    """Decode UTF-8 with or without a BOM; problems are added, oddities that are fine returned."""
    notes: list[str] = []
    if data.startswith(_UTF16):
        problems.add("this is UTF-16 text. Save the file as UTF-8.", rule="encoding")
        return "", notes
    if b"\x00" in data:
        line = data[: data.index(b"\x00")].count(b"\n") + 1
        problems.add("holds a NUL byte. Remove it; the file may be damaged.", line, "nul")
        return "", notes
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        for number, raw in enumerate(data.split(b"\n"), start=1):
            if problems.count >= MAX_BAD_LINES:
                break
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"0x{raw[error.start]:02x}"
                problems.add(f"byte {byte} is not UTF-8. Save as UTF-8.", number, "encoding")
        return "", notes
    if data.startswith(b"\xef\xbb\xbf"):
        notes.append("starts with a byte order mark (BOM): accepted and skipped")
    if b"\r\n" in data:
        notes.append("has CRLF line ends: accepted")
    elif b"\r" in data and b"\n" not in data:
        notes.append("has CR line ends: accepted")
    return text, notes


def _name_lines(lines: list[int | None], unit: str) -> str:
    numbers = [str(line) for line in lines if line is not None]
    if not numbers:
        return ""
    if len(numbers) == 1:
        return f", {unit} {numbers[0]}"
    shown, more = numbers[:MAX_LINES_SHOWN], len(numbers) - MAX_LINES_SHOWN
    last = f", ... ({len(numbers):,} rows)" if more > 0 else ""
    return f", {unit}s {', '.join(shown)}{last}"


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    try:
        if path.stat().st_size > max_bytes:
            raise KitError(
                f"{path}: {path.stat().st_size / 1e6:.1f} MB is over the cap of "
                f"{max_bytes / 1e6:g} MB. Check that it is the right file; the cap is "
                "data.max_megabytes in the task file."
            )
        return path.read_bytes()
    except OSError as error:
        raise KitError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error


def _load_json(text: str, form: Form, problems: Problems) -> Iterable[Any]:
    # Numbers stay as the organisers spelled them.
    numbers: Mapping[str, Any] = {"parse_float": str, "parse_int": str}
    if form.format == "jsonl":
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                if line.strip():
                    yield json.loads(line, **numbers)
            except ValueError as error:
                problems.add(f"is no JSON ({error}). Correct the line.", number)
        return
    try:
        content = json.loads(text, **numbers)
    except ValueError as error:
        problems.add(f"is no JSON ({error}). Correct it, or check data.format.")
        return
    if isinstance(content, dict):
        for row_id, row in content.items():
            yield (
                {form.id_column: row_id, **row} if isinstance(row, dict) and form.id_column else row
            )
    else:
        yield from content if isinstance(content, list) else [content]


def _split_quoted(text: str, delimiter: str, problems: Problems) -> tuple[list[Record], int]:
    records, blank, line, complete = [], 0, 1, False
    ending = "" if not text or text.endswith(("\n", "\r")) else "\n"
    reader = csv.reader(io.StringIO(f"{text}{ending}{_END}", newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            complete = cells == [_END]
            if cells and not complete:
                records.append(Record(line, tuple(cells)))
            elif not cells:
                blank += 1
            line = reader.line_num + 1
    except csv.Error as error:
        problems.add(f"cannot be split into cells ({error}). Check the quotes.", line, "quotes")
        return records, blank
    if not complete:
        problems.add("a quote opens here and never closes.", records[-1].line, "open_quote")
    return records, blank


def _split_plain(text: str, delimiter: str, from_right: int) -> tuple[list[Record], int]:
    records, blank = [], 0
    for number, raw in enumerate(io.StringIO(text, newline=""), start=1):
        line = raw.rstrip("\r\n")
        if not line.strip(" \t" if delimiter != "\t" else " "):
            blank += 1
        elif from_right:
            records.append(Record(number, tuple(line.rsplit(delimiter, from_right))))
        else:
            records.append(Record(number, tuple(line.split(delimiter))))
    return records, blank
