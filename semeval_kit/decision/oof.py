"""Out-of-fold rows: what every decision is made from, and what was answered on them.

A row's probs come from a model that had not learnt it, so a rule tuned on some rows can be judged
on others. What `tune` judged is kept in one file, so that no page has to decide it again.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.errors import KitError
from semeval_kit.files import sha256_file, to_csv, write_atomic
from semeval_kit.submission.metrics import NOTHING, Beside

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OofRows:
    """Rows that no model judged had learnt.

    Attributes:
        probs: `(n, C)`.
        targets: `(n, C)` of 0, 1 and NaN (not annotated).
        languages: `(n,)`.
        groups: `(n,)`, the same number for rows that belong together (copies of a text).
        folds: `(n,)`, the fold whose model gave the row's probs.
        beside: what a metric needs of each row beside gold and answers.
    """

    probs: FloatArray
    targets: FloatArray
    languages: tuple[str, ...]
    target_names: tuple[str, ...]
    groups: IntArray
    folds: IntArray
    beside: Beside = NOTHING

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together.

        Raises:
            KitError: naming the shapes.
        """
        expected = (len(self.languages), len(self.target_names))
        if self.probs.shape != expected or self.targets.shape != expected:
            raise KitError(
                f"probs {self.probs.shape} and targets {self.targets.shape} should both be "
                f"{expected}: one row per example, one column per target. "
                "Read them from the same run."
            )

    @classmethod
    def of(
        cls,
        probs: FloatArray,
        targets: FloatArray,
        languages: Sequence[str],
        target_names: Sequence[str],
        groups: Sequence[Hashable] | IntArray | None = None,
        folds: Sequence[int] | IntArray | None = None,
        beside: Beside = NOTHING,
    ) -> OofRows:
        """Rows from plain sequences of the same shapes.

        Groups are any equal values for rows that belong together; None: each row alone. Without
        folds one model gave all probs.

        Raises:
            KitError: shapes do not fit.
        """
        return cls(
            probs=probs,
            targets=targets,
            languages=tuple(languages),
            target_names=tuple(target_names),
            groups=index_groups(len(languages), groups),
            folds=np.zeros(len(languages), np.int64) if folds is None else np.asarray(folds),
            beside=beside,
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.languages)

    def take(self, rows: IntArray) -> OofRows:
        """The given rows, in their order."""
        languages = tuple(self.languages[row] for row in rows)
        return OofRows(
            self.probs[rows],
            self.targets[rows],
            languages,
            self.target_names,
            self.groups[rows],
            self.folds[rows],
            self.beside.take(rows),
        )

    def check_probs(self) -> None:
        """Refuse probs that are no probabilities.

        Raises:
            KitError: naming the first bad row and its target.
        """
        bad = np.argwhere(~((self.probs >= 0) & (self.probs <= 1)))
        if len(bad):
            row, target = bad[0]
            raise KitError(
                f"probs, row {row + 1}: '{self.target_names[target]}' is "
                f"{self.probs[row, target]}; expected 0..1. Train that fold again."
            )


@dataclass(frozen=True, eq=False)
class OofAnswers:
    """What a rule answered on out-of-fold rows.

    Attributes:
        ids: `(n,)`.
        languages: `(n,)`.
        half: `(n, L)`, by the rule without tuning (0.5, argmax); whole, but for numbers.
        tuned: `(n, L)`, cross-fitted on the first partition: each part by the rule tuned on the
            others.
    """

    ids: tuple[str, ...]
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    half: Any
    tuned: Any


def write_oof_answers(path: Path, answers: OofAnswers) -> str:
    """Write answers as CSV, atomically, and return the sha256 of the file."""
    columns = [f"{rule}:{label}" for rule in ("half", "tuned") for label in answers.labels]
    values = np.concatenate([answers.half, answers.tuned], axis=1).tolist()
    rows = [
        [language, id_, *row]
        for language, id_, row in zip(answers.languages, answers.ids, values, strict=True)
    ]
    text = to_csv(["language", "id", *columns], rows)
    write_atomic(path, text)
    return sha256_file(path)


def read_oof_answers(path: Path, sha256: str) -> OofAnswers:
    """Read what `write_oof_answers` wrote.

    Raises:
        KitError: the file is missing, or is another.
    """
    if not path.is_file():
        raise KitError(
            f"{path}: no such file; the run was tuned by an older version. "
            f"Run `semeval-kit tune {path.parent}`."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise KitError(
            f"{path}: is not what tuning wrote (its sha256 differs). "
            f"Run `semeval-kit tune {path.parent}`."
        )
    header, *rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    labels = tuple(name.partition(":")[2] for name in header if name.startswith("half:"))
    values = np.array([row[2:] for row in rows], dtype=np.float64)
    values = values.reshape(len(rows), 2 * len(labels))
    if (values == np.rint(values)).all():
        values = values.astype(np.int64)
    return OofAnswers(
        ids=tuple(row[1] for row in rows),
        languages=tuple(row[0] for row in rows),
        labels=labels,
        half=values[:, : len(labels)],
        tuned=values[:, len(labels) :],
    )


class Spelled:
    """A dataclass that files hold as JSON."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name: arrays and tuples as lists, in full precision; NaN as null."""
        plain: dict[str, Any] = _spell(self)
        return plain


def _spell(value: Any) -> Any:
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _spell(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_spell(part) for part in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def split_languages(languages: Sequence[str]) -> dict[str, IntArray]:
    """The row numbers of every language, in the order of its first row."""
    rows_of: dict[str, list[int]] = {}
    for row, language in enumerate(languages):
        rows_of.setdefault(language, []).append(row)
    return {language: np.array(rows, dtype=np.int64) for language, rows in rows_of.items()}


def index_groups(n_rows: int, groups: Sequence[Hashable] | IntArray | None) -> IntArray:
    """Number the groups in the order of their first row, `(n_rows,)`; each row alone without."""
    if isinstance(groups, np.ndarray):
        return groups
    if groups is None:
        return np.arange(n_rows, dtype=np.int64)
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
