"""Numbers that describe a split: labels, what occurs together, lengths, all-zero rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples, find_file, read_split
from semeval_kit.data.texts import find_overlap, text_keys, whole_texts
from semeval_kit.errors import KitError
from semeval_kit.task.schema import SPLITS
from semeval_kit.task.task import Task

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


@dataclass(frozen=True)
class Spread:
    """Numbers at QUANTILES (least, 5%, median, 95%, most) and their mean."""

    quantiles: tuple[float, ...]
    mean: float


@dataclass(frozen=True)
class SplitStats:
    """One language of one split.

    `values[label]` counts the rows per value ("0", "1", ...), `annotated[label]` the rows that
    have a value at all; `cooccurrence[i][j]` counts the rows in which labels i and j are both
    above 0 (the diagonal holds the positives); `n_neutral` are rows with every label at 0.
    """

    language: str
    split: str
    n_rows: int
    n_annotated: int
    n_neutral: int
    labels: tuple[str, ...]
    annotated: dict[str, int]
    values: dict[str, dict[str, int]]
    cooccurrence: tuple[tuple[int, ...], ...]
    mean_labels: float
    words: Spread
    """Lengths in runs between blanks, which mean little for languages written without blanks."""
    characters: Spread
    numbers: dict[str, Spread] = field(default_factory=dict)
    """Real-valued labels, which are in none of the counts above."""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain dictionaries and lists."""
        return asdict(self)

    def positives(self) -> dict[str, int]:
        """Return the number of rows above 0 for every label."""
        return {label: self.cooccurrence[i][i] for i, label in enumerate(self.labels)}


def describe_split(examples: Examples, language: str, split: str) -> SplitStats:
    """Describe the rows of one language.

    Labels that no row has are left out: they are not annotated, which is something else than 0.
    """
    rows = np.array([code == language for code in examples.languages], dtype=bool)
    texts = [text for text, keep in zip(whole_texts(examples), rows, strict=True) if keep]
    numeric = np.array([bool((column % 1 > 0).any()) for column in examples.labels[rows].T], bool)
    numbers = {
        examples.label_names[i]: _measure(column[~np.isnan(column)])
        for i, column in enumerate(examples.labels[rows].T)
        if numeric[i]
    }
    used = np.flatnonzero((~np.isnan(examples.labels[rows])).any(axis=0) & ~numeric)
    labels = examples.labels[rows][:, used]
    annotated = ~np.isnan(labels)
    names = tuple(examples.label_names[i] for i in used)
    positive = (np.where(annotated, labels, 0.0) > 0).astype(np.int64)
    complete = annotated.all(axis=1) if names else np.zeros(len(texts), dtype=bool)
    return SplitStats(
        language=language,
        split=split,
        n_rows=len(texts),
        n_annotated=int(complete.sum()),
        n_neutral=int((complete & ~positive.any(axis=1)).sum()),
        labels=names,
        annotated={name: int(annotated[:, i].sum()) for i, name in enumerate(names)},
        values={name: _count_values(labels[:, i]) for i, name in enumerate(names)},
        cooccurrence=tuple(tuple(int(n) for n in row) for row in positive.T @ positive),
        mean_labels=float(positive[complete].sum(axis=1).mean()) if complete.any() else 0.0,
        words=_measure([len(text.split()) for text in texts]),
        characters=_measure([len(text) for text in texts]),
        numbers=numbers,
    )


def describe_task(
    task: Task, folder: str | Path, languages: Sequence[str] | None = None
) -> tuple[list[SplitStats], dict[str, int]]:
    """Describe every file of a task that is there, and count the texts that splits share.

    Returns:
        One entry per language and split, and by name of a pair of splits, such as
        `eng: train and test`, the rows of the second whose text the first has.

    Raises:
        KitError: a file has problems, or none is there.
    """
    entries: list[SplitStats] = []
    overlaps: dict[str, int] = {}
    for language in task.check_languages(languages or task.languages):
        rows = {
            split: read_split(task, folder, split, language)
            for split in SPLITS
            if find_file(task, folder, split, language) is not None
        }
        entries += [describe_split(part, language, split) for split, part in rows.items()]
        keys = {split: text_keys(part) for split, part in rows.items()}
        for one, other in combinations(rows, 2):
            overlap = find_overlap(rows[one], rows[other], keys=(keys[one], keys[other]))
            overlaps[f"{language}: {one} and {other}"] = len(overlap.rows)
    if not entries:
        raise KitError(
            f"{folder}: holds no file of {task.name}. Give the folder with --data, or bring the "
            f"files with: semeval-kit data fetch {task.name}"
        )
    return entries, overlaps


def _count_values(column: NDArray[np.float64]) -> dict[str, int]:
    values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    return {f"{value:g}": int(count) for value, count in zip(values, counts, strict=True)}


def _measure(numbers: Sequence[int] | NDArray[np.float64]) -> Spread:
    if not len(numbers):
        return Spread(tuple(0.0 for _ in QUANTILES), 0.0)
    array = np.asarray(numbers, dtype=np.float64)
    return Spread(tuple(float(q) for q in np.quantile(array, QUANTILES)), float(array.mean()))
