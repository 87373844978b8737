"""Probabilities of examples, and the files that keep them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.errors import KitError
from semeval_kit.files import AGAIN, read_kept, to_csv, write_kept


@dataclass(frozen=True)
class Probs:
    """Probabilities of examples.

    Attributes:
        ids: one per example.
        languages: one per example.
        target_names: one per column.
        values: `(n_examples, n_targets)`, each in [0, 1].
    """

    ids: tuple[str, ...]
    languages: tuple[str, ...]
    target_names: tuple[str, ...]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.ids)

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Language and id of every row."""
        return tuple(zip(self.languages, self.ids, strict=True))

    def take(self, rows: NDArray[Any] | Sequence[int]) -> Probs:
        """Return the given rows, in their order."""
        index = [int(row) for row in rows]
        return Probs(
            ids=tuple(self.ids[row] for row in index),
            languages=tuple(self.languages[row] for row in index),
            target_names=self.target_names,
            values=self.values[index],
        )


def mean_probs(members: Sequence[Probs]) -> Probs:
    """The uniform mean of the members' probabilities of the same rows, in the order given.

    Never of logits: thresholds of single models, applied to a mean of logits, cost up to .007 of
    macro-F1 where a mean of probs costs at most .002. The same members in the same order give the
    same bytes.

    Raises:
        KitError: there is no member, or their rows or targets differ.
    """
    if not members:
        raise KitError("mean of probs: no member given. Train at least one fold.")
    first = members[0]
    total = np.zeros(first.values.shape)
    for member in members:
        if member.target_names != first.target_names or member.keys != first.keys:
            raise KitError(
                f"mean of probs: members have different rows or targets ({len(first)} x "
                f"{len(first.target_names)} and {len(member)} x {len(member.target_names)}). "
                "Predict the same rows with each."
            )
        total += member.values
    return replace(first, values=total / len(members))


def read_probs(path: Path, remedy: str = AGAIN) -> Probs:
    """Read a probability file: columns id, language, then one per target.

    Raises:
        KitError: the file is missing, is not such a file, is not what was written, or a value is
            not a probability.
    """
    text = read_kept(path, remedy).decode("utf-8", errors="replace")
    header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    if header[:2] != ["id", "language"]:
        raise KitError(f"{path}: is not a probability file; its header is {header[:20]}.")
    try:
        values = np.array([[float(v) for v in row[2:]] for row in rows], dtype=np.float64)
        values = values.reshape(len(rows), len(header) - 2)
    except (ValueError, IndexError) as error:
        raise KitError(f"{path}: damaged ({error}). {remedy}") from error
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise KitError(f"{path}, line {row + 2}: a value is not a number. {remedy}")
    return Probs(
        ids=tuple(row[0] for row in rows),
        languages=tuple(row[1] for row in rows),
        target_names=tuple(header[2:]),
        values=values,
    )


def write_probs(path: Path, probs: Probs) -> None:
    """Write a probability file with full precision, atomically."""
    rows = [
        [id_, language, *(repr(float(v)) for v in values)]
        for id_, language, values in zip(probs.ids, probs.languages, probs.values, strict=True)
    ]
    write_kept(path, to_csv(["id", "language", *probs.target_names], rows))
