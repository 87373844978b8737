"""Which texts occur twice: within one file, between splits and between tracks.

Two texts count as the same when they agree after NFKC normalisation, case folding and
collapsing of blanks, the rule with which the overlaps of SemEval-2025 Task 11 were counted.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semeval_kit.plurals import count_noun

if TYPE_CHECKING:
    from semeval_kit.data.examples import Examples

Keys = list[tuple[str, str]]
_TYING_ROWS, _TYING_SHARE = 10, 0.05  # a text of pairs in more rows than both ties nothing


class Note(str):
    """A sentence about a file, and the kind of note that it is.

    `kind` is "accepted", "warning" (it may spoil a result), "duplicates" or "unlabelled".
    """

    kind: str

    def __new__(cls, text: str, kind: str = "accepted") -> Note:
        """Make a note; `text` stays what it is for all that wants a string."""
        note = super().__new__(cls, text)
        note.kind = kind
        return note

    def at(self, place: object) -> Note:
        """The same note with the place in front."""
        return Note(f"{place}: {self}", self.kind)


@dataclass(frozen=True)
class TextGroup:
    """Rows of one language that hold the same text; `conflicting` if their labels differ."""

    rows: tuple[int, ...]
    conflicting: bool


@dataclass(frozen=True)
class Overlap:
    """Texts of `second` that also occur in `first`, both in the same language.

    `rows` are pairs (row in first, row in second), the first such row of `first` for each row of
    `second`; `n_verbatim` of them agree character for character; `n_second` is the number of rows
    of `second` in the languages that `first` has.
    """

    rows: tuple[tuple[int, int], ...]
    n_verbatim: int
    n_second: int


def normalize_text(text: str) -> str:
    """Fold a text for finding duplicates: NFKC, case-folded, spaces collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def number_groups(examples: Examples) -> NDArray[np.int64]:
    """Number the groups that stay in one fold and in one bootstrap draw, `(n_examples,)` from 0.

    Rows of a group have an equal value of the task's group key; without a key, an equal text,
    whatever their language. Of pairs, rows that share either text are tied to each other, and so on
    through all of them: a model that has learnt one side knows half of the other row. A text in
    more than ten rows that are more than one in twenty (a question asked of all) ties nothing.

    Numbers follow the first appearance.
    """
    if not examples.groups and examples.pairs:
        return _tie_pairs(list(map(normalize_text, (*examples.texts, *examples.pairs))))
    keys: Iterable[str] = examples.groups or map(normalize_text, examples.texts)
    return np.array(_number_keys(keys), dtype=np.int64)


def _number_keys(keys: Iterable[object]) -> list[int]:
    numbers: dict[object, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _tie_pairs(texts: Sequence[str]) -> NDArray[np.int64]:
    """Groups of rows; `texts` are the first text of every row, then the second of every row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_rows = len(texts) // 2
    numbers = np.array(_number_keys(texts), dtype=np.int64)
    counts = np.bincount(numbers)
    ties = counts[numbers] <= max(_TYING_ROWS, _TYING_SHARE * n_rows)
    # Rows that say the very same stay together, whatever their texts tie.
    both = np.array(_number_keys(zip(texts[:n_rows], texts[n_rows:], strict=True)), dtype=np.int64)
    rows = np.concatenate([np.tile(np.arange(n_rows), 2)[ties], np.arange(n_rows)])
    keys = n_rows + np.concatenate([numbers[ties], len(counts) + both])
    size = n_rows + len(counts) + n_rows
    graph = coo_array((np.ones(len(rows)), (rows, keys)), shape=(size, size))
    _, parts = connected_components(graph, directed=False)
    return np.array(_number_keys(parts[:n_rows].tolist()), dtype=np.int64)


def whole_texts(examples: Examples) -> Sequence[str]:
    """The text of every row, with its second text on a line of its own."""
    if not examples.pairs:
        return examples.texts
    return [f"{text}\n{pair}" for text, pair in zip(examples.texts, examples.pairs, strict=True)]


def text_keys(examples: Examples) -> Keys:
    """Return (language, normalised text and second text) for every row."""
    return [
        (language, normalize_text(text))
        for language, text in zip(examples.languages, whole_texts(examples), strict=True)
    ]


def find_duplicates(examples: Examples, keys: Keys | None = None) -> list[TextGroup]:
    """Group the rows that share a text, in order of first appearance."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, key in enumerate(keys if keys is not None else text_keys(examples)):
        groups[key].append(row)
    return [
        TextGroup(tuple(rows), _conflict(examples.labels[rows]))
        for rows in groups.values()
        if len(rows) > 1
    ]


def describe_duplicates(examples: Examples) -> list[Note]:
    """Notes on texts that occur more than once, and on those whose labels conflict."""
    groups = find_duplicates(examples)
    conflicting = [group for group in groups if group.conflicting]
    notes = []
    for words, named in (
        (count_noun(sum(len(group.rows) - 1 for group in groups), "duplicate text"), groups),
        (describe_conflicts(len(conflicting)), conflicting),
    ):
        if named:
            first = ", ".join(examples.ids[row] for row in named[0].rows[:3])
            notes.append(Note(f"{words} (first: {first})", "duplicates"))
    return notes


def describe_conflicts(count: int) -> str:
    """How many texts occur with labels that disagree, in words."""
    return count_noun(count, "text occurs", "texts occur") + " with conflicting labels"


def find_overlap(
    first: Examples, second: Examples, keys: tuple[Keys, Keys] | None = None
) -> Overlap:
    """Find the rows of `second` whose text occurs in `first`, language by language."""
    first_keys, second_keys = keys or (text_keys(first), text_keys(second))
    seen: dict[tuple[str, str], int] = {}
    for row, key in enumerate(first_keys):
        seen.setdefault(key, row)
    pairs = tuple((seen[key], row) for row, key in enumerate(second_keys) if key in seen)
    languages, texts = set(first.languages), whole_texts(second)
    verbatim = set(zip(first.languages, whole_texts(first), strict=True))
    return Overlap(
        rows=pairs,
        n_verbatim=sum((second.languages[row], texts[row]) in verbatim for _, row in pairs),
        n_second=sum(language in languages for language in second.languages),
    )


def _conflict(labels: NDArray[np.float64]) -> bool:
    """True if two rows disagree on a label that both have."""
    annotated = ~np.isnan(labels)
    low = np.where(annotated, labels, np.inf).min(axis=0)
    high = np.where(annotated, labels, -np.inf).max(axis=0)
    return bool((low < high).any())
