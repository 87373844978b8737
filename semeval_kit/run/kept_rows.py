"""Rows of a run: the examples as they were read and checked once, in one file of the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.data.examples import Examples, read_examples
from semeval_kit.data.extra import ExtraRows
from semeval_kit.task.task import Task


def read_rows(task: Task, data: Path, splits: Sequence[str], languages: Sequence[str]) -> Examples:
    """Read the labelled rows of some splits of the organisers' files, in that order.

    Raises:
        KitError: a file is missing or has problems.
    """
    parts = [read_examples(task, data, split, languages, labelled=True) for split in splits]
    if len(parts) > 1:  # rows that are numbered start at 1 in every split
        parts = [
            replace(part, ids=tuple(f"{split}:{id_}" for id_ in part.ids))
            for part, split in zip(parts, splits, strict=True)
        ]
    return Examples.concat(parts)


def pack_rows(examples: Examples) -> str:
    """Spell examples as one JSON object, a line per field; NaN is null."""
    lines = []
    for field in fields(Examples):
        value = getattr(examples, field.name)
        if isinstance(value, np.ndarray):
            value = [[None if cell != cell else cell for cell in row] for row in value.tolist()]
        elif not isinstance(value, tuple):
            value = dict(value)
        lines.append(f"{json.dumps(field.name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{" + ",\n".join(lines) + "}\n"


def unpack_rows(content: bytes) -> Examples:
    """Make examples of what `pack_rows` wrote, equal to those that it was given.

    Raises:
        ValueError: the content is something else.
    """
    given = json.loads(content)
    names = {field.name for field in fields(Examples)}
    read: dict[str, Any] = {name: _to_tuples(value) for name, value in given.items()}
    if not names >= set(read) or not {"ids", "labels", "label_names"} <= set(read):
        raise ValueError("its fields are not those of examples")
    labels = np.array(given["labels"], dtype=np.float64)  # None becomes NaN
    read["labels"] = labels.reshape(len(read["ids"]), len(read["label_names"]))
    return Examples(**read)


def pack_extra(extra: ExtraRows) -> str:
    """Spell extra rows as one JSON object: the rows, and their targets with NaN as null."""
    targets = [[None if cell != cell else cell for cell in row] for row in extra.targets.tolist()]
    fields_ = {"targets": targets, "counts": dict(extra.counts)}
    beside = "".join(f"{json.dumps(name)}: {json.dumps(v)},\n" for name, v in fields_.items())
    return "{" + beside + f'"rows": {pack_rows(extra.examples)}' + "}\n"


def unpack_extra(content: bytes) -> ExtraRows:
    """Make extra rows of what `pack_extra` wrote.

    Raises:
        ValueError: the content is something else.
    """
    given = json.loads(content)
    examples = unpack_rows(json.dumps(given["rows"]).encode())
    targets = np.array(given["targets"], dtype=np.float64)
    return ExtraRows(examples, targets.reshape(len(examples), -1), given["counts"])


def _to_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_to_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _to_tuples(item) for key, item in value.items()}
    return value
