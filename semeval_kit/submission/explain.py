"""Explanations: why a header or ids are not those that are expected, in words for people."""

from __future__ import annotations

from semeval_kit.task.schema import SPLITS
from semeval_kit.task.task import Task


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


def _list_names(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name[:100]) for name in names[:10]) + more
