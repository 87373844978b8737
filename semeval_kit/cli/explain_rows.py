"""Which texts `explain` explains: texts of one's own, or rows of a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from semeval_kit.cli.options import say

if TYPE_CHECKING:
    from semeval_kit.run.directory import Run

_MOST_TEXTS = 200
# id, text and language; the language is empty for thresholds over all.
Row = tuple[str, str, str]


def find_rows(run: Run, given: dict[str, Any], language: str) -> tuple[list[Row], str]:
    """The rows to explain, and the name of the files.

    Args:
        run: whose splits may be asked for.
        given: the options of `explain`.
        language: rows and thresholds of this language only; empty for all.

    Raises:
        click.UsageError: nothing is asked for, too much, or two things at once.
        KitError: a file cannot be read.
    """
    own = bool(given["texts"] or given["file"])
    picked = bool(given["rows"] or given["ids"])
    if own and (given["split"] or picked or given["sample"]):
        raise click.UsageError("give texts of your own or rows of a split, not both.")
    if picked and given["sample"]:
        raise click.UsageError("--global draws its rows itself: leave --rows and --ids out.")
    if own:
        return _read_own(run, given, language), given["name"] or "texts"
    if not picked and not given["sample"]:
        raise click.UsageError(
            "give --text, --file, --split with --rows or --ids, or --global with a number of rows."
        )
    split = given["split"] or "dev"
    rows = _read_split(run, split, language)
    if given["sample"]:
        return _draw(rows, given["sample"], given["seed"]), given["name"] or f"global-{split}"
    chosen = _pick(rows, given["rows"], given["ids"], split)
    return _limited(chosen), given["name"] or split


def _read_own(run: Run, given: dict[str, Any], language: str) -> list[Row]:
    from semeval_kit.cli.run_models import check_language
    from semeval_kit.cli.texts import read_items

    spoken = language or check_language(run, None, say)
    items = read_items(run, given["texts"], given["file"], spoken) or []
    rows = []
    for name, text in items:
        shown = f"Text {name}" if name.isdigit() else name
        rows.append((shown, text, spoken))
        _limited(rows)
    if not rows:
        raise click.UsageError("there is no text in what was given.")
    return rows


def _read_split(run: Run, split: str, language: str) -> list[Row]:
    examples = run.read_train() if split == "train" else run.read_split(split)
    rows = list(zip(examples.ids, examples.texts, examples.languages, strict=True))
    chosen = [row for row in rows if not language or row[2] == language]
    if not chosen:
        raise click.UsageError(f"{split} has no row in language '{language}'.")
    return chosen


def _pick(rows: Sequence[Row], numbers: str | None, ids: str | None, split: str) -> list[Row]:
    chosen = []
    for place in _parse_rows(numbers or ""):
        if place > len(rows):
            raise click.UsageError(f"--rows {place}: {split} has {len(rows)} rows.")
        chosen.append(rows[place - 1])
    by_id = {row[0]: row for row in rows}
    for id_ in filter(None, (part.strip() for part in (ids or "").split(","))):
        if id_ not in by_id:
            raise click.UsageError(f"--ids {id_}: no row of {split} has this id.")
        chosen.append(by_id[id_])
    if not chosen:
        raise click.UsageError("--rows and --ids name no row.")
    return chosen


def _parse_rows(text: str) -> list[int]:
    places: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(first) < 1:
            raise click.UsageError(
                f"--rows '{part}': expected a row such as 3 or rows such as 3-7."
            )
        end = int(last) if dash else int(first)
        if end - int(first) >= _MOST_TEXTS:
            raise click.UsageError(f"--rows '{part}': at most {_MOST_TEXTS} rows at a time.")
        places += range(int(first), end + 1)
    return places


def _limited(rows: list[Row]) -> list[Row]:
    if len(rows) > _MOST_TEXTS:
        raise click.UsageError(
            f"more than {_MOST_TEXTS} texts: a page of so many is of no use. Give fewer, or use "
            "--global for a view over many rows."
        )
    return rows


def _draw(rows: Sequence[Row], size: int, seed: int) -> list[Row]:
    """A sample without replacement, in the order of the file."""
    import numpy as np

    if size >= len(rows):
        return list(rows)
    drawn = np.random.default_rng(seed).choice(len(rows), size=size, replace=False)
    return [rows[int(place)] for place in sorted(drawn)]
