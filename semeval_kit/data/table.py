"""Delimited text files: bytes to records with physical line numbers, all problems in one error."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from semeval_kit.errors import KitError

MAX_SHOWN = 20
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass
class Problems:
    """What is wrong with a file, collected so that one error tells all of it."""

    place: str
    lines: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    """The rule that each of the lines breaks, where rules have names."""
    count: int = 0

    def add(self, message: str, line: int | None = None, rule: str = "") -> None:
        """Note a problem, at a physical line (from 1) if it has one."""
        self.count += 1
        if len(self.lines) < MAX_SHOWN:
            where = self.place if line is None else f"{self.place}, line {line}"
            self.lines.append(f"{where}: {message}")
            self.rules.append(rule)

    def raise_if_any(self) -> None:
        """Raise one KitError with all that was noted.

        Raises:
            KitError: there was a problem.
        """
        if self.count:
            hidden = self.count - len(self.lines)
            more = [f"{self.place}: and {hidden} more problems of this file"] if hidden else []
            raise KitError("\n".join([*self.lines, *more]))


@dataclass(frozen=True)
class Record:
    """A row of cells and the physical line (from 1) on which it starts."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The records of a file, its header among them if it has one, and what was accepted."""

    records: tuple[Record, ...]
    notes: tuple[str, ...]


def read_table(
    path: Path,
    *,
    delimiter: str = ",",
    quoted: bool = True,
    split_from_right: int = 0,
    max_bytes: int = 64_000_000,
) -> Table:
    """Read a delimited UTF-8 file; blank lines are skipped and counted in the notes.

    `split_from_right` cuts each line at its last so many delimiters (for unquoted texts).

    Raises:
        KitError: not readable, too large, not UTF-8, NUL bytes, or quotes that do not close.
    """
    problems = Problems(str(path))
    table = parse_table(
        _read_bytes(path, max_bytes),
        problems,
        delimiter=delimiter,
        quoted=quoted,
        split_from_right=split_from_right,
    )
    problems.raise_if_any()
    return table


def parse_table(
    data: bytes, problems: Problems, *, delimiter: str, quoted: bool, split_from_right: int = 0
) -> Table:
    """Split the bytes of a file into records; what is wrong is added to the problems."""
    records: list[Record] = []
    blank = 0
    text, notes = decode_text(data, problems)
    if not problems.count and quoted:
        records, blank = _split_quoted(text, delimiter, problems)
    elif not problems.count:
        records, blank = _split_plain(text, delimiter, split_from_right)
    if blank:
        notes.append(f"{blank} blank lines skipped")
    return Table(tuple(records), tuple(notes))


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


def _split_quoted(text: str, delimiter: str, problems: Problems) -> tuple[list[Record], int]:
    records, blank = [], 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    line = 1
    try:
        for cells in reader:
            if cells:
                records.append(Record(line, tuple(cells)))
            else:
                blank += 1
            line = reader.line_num + 1
    except csv.Error as error:
        problems.add(f"cannot be split into cells ({error}). Check the quotes.", line, "quotes")
    if records and not problems.count and _ends_inside_quotes(text, records[-1].line, delimiter):
        problems.add("a quote opens here and never closes.", records[-1].line, "open_quote")
    return records, blank


def _ends_inside_quotes(text: str, line: int, delimiter: str) -> bool:
    last = list(io.StringIO(text, newline=""))[line - 1 :]
    try:
        list(csv.reader(last, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _split_plain(text: str, delimiter: str, from_right: int) -> tuple[list[Record], int]:
    records, blank = [], 0
    for number, line in enumerate(_physical_lines(text), start=1):
        if not line.strip(" \t" if delimiter != "\t" else " "):
            blank += 1
        elif from_right:
            records.append(Record(number, tuple(line.rsplit(delimiter, from_right))))
        else:
            records.append(Record(number, tuple(line.split(delimiter))))
    return records, blank


def _physical_lines(text: str) -> Iterator[str]:
    for line in io.StringIO(text, newline=""):
        yield line.rstrip("\r\n")
