"""Texts that people hand to a command: as arguments, in a file, or through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from semeval_kit.errors import KitError

if TYPE_CHECKING:
    from semeval_kit.run.directory import Run

Item = tuple[str, str]
_TABLES = (".csv", ".tsv")


def read_items(
    run: Run, texts: Sequence[str], file: Path | None, language: str
) -> Iterable[Item] | None:
    """The texts with a name each: the row's id, or the number of the text or line.

    Args:
        run: whose task says how a .csv or .tsv file is spelled.
        texts: arguments; a single "-" means standard input.
        file: one text per line, or the organisers' layout if it ends in .csv or .tsv.
        language: of a .csv or .tsv file.

    Returns:
        None if nothing was given and standard input is a terminal.

    Raises:
        KitError: arguments and file are given both, or a text is not UTF-8.
    """
    if texts and file:
        raise click.UsageError("give texts or --file, not both.")
    if file is not None and str(file) != "-":
        return _read_table(run, file, language) if _is_table(file) else _read_path(file)
    if file is not None or tuple(texts) == ("-",):
        return read_lines(sys.stdin.buffer, "standard input")
    if texts:
        return [(str(n), _checked(text, n)) for n, text in enumerate(texts, start=1)]
    if sys.stdin is None or sys.stdin.isatty():
        return None
    return read_lines(sys.stdin.buffer, "standard input")


def read_lines(stream: BinaryIO, place: str) -> Iterator[Item]:
    """One text per line, ended by LF or CRLF; every other character belongs to the text.

    Raises:
        KitError: a line is not UTF-8.
    """
    for number, line in enumerate(stream, start=1):
        bare = line.removesuffix(b"\n")
        bare = bare.removesuffix(b"\r") if bare != line else bare
        if number == 1:
            bare = bare.removeprefix(b"\xef\xbb\xbf")
        try:
            yield str(number), bare.decode("utf-8")
        except UnicodeDecodeError as error:
            raise KitError(
                f"{place}, line {number}: not UTF-8 (byte {error.start + 1}). Save it as UTF-8."
            ) from error


def _read_path(file: Path) -> Iterator[Item]:
    try:
        with file.open("rb") as stream:
            yield from read_lines(stream, str(file))
    except OSError as error:
        raise KitError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error


def _read_table(run: Run, file: Path, language: str) -> list[Item]:
    from semeval_kit.data.examples import read_file

    languages = run.languages
    if not language and len(languages) > 1:
        raise KitError(f"{file}: give --language, one of {', '.join(languages)}.")
    examples = read_file(run.task, file, language or languages[0], "test", labelled=False)
    return list(zip(examples.ids, examples.texts, strict=True))


def _is_table(file: Path) -> bool:
    return file.suffix.lower() in _TABLES


def _checked(text: str, number: int) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise KitError(f"text {number}: not UTF-8. Check the terminal's encoding.") from error
    return text
