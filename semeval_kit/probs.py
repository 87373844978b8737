"""Probabilities of examples, and the files that keep them."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.errors import KitError
from semeval_kit.files import AGAIN, read_kept, to_csv, write_kept

_CHUNK = 50_000  # rows that are spelled at a time


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

    def order(self, keys: Iterable[tuple[str, str]]) -> Probs:
        """Return the rows with the given languages and ids, in their order.

        Raises:
            KeyError: there is no such row.
        """
        row_of = {key: row for row, key in enumerate(self.keys)}
        return self.take([row_of[key] for key in keys])

    @classmethod
    def concat(cls, parts: Sequence[Probs]) -> Probs:
        """Return the rows of the parts, which have the same targets, one after the other."""
        return cls(
            tuple(id_ for part in parts for id_ in part.ids),
            tuple(language for part in parts for language in part.languages),
            parts[0].target_names,
            np.concatenate([part.values for part in parts]),
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
    import pandas as pd  # only here: what reads no probabilities starts without it

    content = read_kept(path, remedy)
    line = content.partition(b"\n")[0].decode("utf-8", errors="replace")
    header = next(csv.reader([line]), [])
    if header[:2] != ["id", "language"]:
        raise KitError(f"{path}: is not a probability file; its header is {header[:20]}.")
    names = [str(column) for column in range(len(header))]  # whatever the targets are called
    try:
        table = pd.read_csv(
            io.BytesIO(content),
            names=names,
            skiprows=1,
            index_col=False,
            dtype={name: str if name in ("0", "1") else np.float64 for name in names},
            na_filter=False,
            skip_blank_lines=False,
            float_precision="round_trip",
            encoding_errors="replace",
        )
    except ValueError as error:
        told = f", line {_find_nan(content)}: a value is not a number" if _find_nan(content) else ""
        raise KitError(f"{path}{told or f': damaged ({error})'}. {remedy}") from error
    values = np.ascontiguousarray(table[names[2:]].to_numpy(np.float64))
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise KitError(f"{path}, line {row + 2}: a value is not a number. {remedy}")
    return Probs(
        ids=tuple(table["0"].tolist()),
        languages=tuple(map(sys.intern, table["1"].tolist())),
        target_names=tuple(header[2:]),
        values=values,
    )


def write_probs(path: Path, probs: Probs) -> None:
    """Write a probability file with full precision, atomically."""
    parts = [to_csv(["id", "language", *probs.target_names], [])]
    for start in range(0, len(probs), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        values = probs.values[chunk].astype(np.float64).tolist()  # written by repr: every digit
        cells = zip(probs.ids[chunk], probs.languages[chunk], values, strict=True)
        parts.append(to_csv([], ([id_, language, *row] for id_, language, row in cells)))
    write_kept(path, b"".join(part.encode("utf-8") for part in parts))


def _find_nan(content: bytes) -> int:
    """The first line with a cell "nan", which the fast reader takes for text; 0: none."""
    rows = csv.reader(io.StringIO(content.decode("utf-8", errors="replace"), newline=""))
    return next((n for n, row in enumerate(rows, start=1) if "nan" in row[2:] and n > 1), 0)
