"""What a run is made with: settings and hashes that do not change, and the rows that it keeps."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.data.examples import Examples, find_file, read_examples
from semeval_kit.data.extra import ExtraRows
from semeval_kit.files import sha256_file
from semeval_kit.task.schema import fill_language
from semeval_kit.task.task import Task

Row = dict[str, Any]

# Settings that describe the moment, the machine and the place, not the result.
_NOT_FROZEN = {"created", "versions", "machine", "jobs", "name", "command", "data", "format"}

# Parts of a task file that change no result; a newer kit may know more of them.
_TASK_PROSE = {"title", "url", "notes", "citations", "baselines", "hub", "recipe", "practice"}


@dataclass(frozen=True)
class Frozen:
    """What a run is made with."""

    task_text: str
    recipe: Mapping[str, Any]
    settings: Mapping[str, Any]


def list_differences(have: Frozen, asked: Frozen) -> list[str]:
    """The frozen fields in which a run differs from what is asked for, a line each.

    Data and a local encoder are known by their hashes, wherever they lie. Training files that are
    not there are no difference, as the run keeps their rows.
    """
    mine, theirs = _flatten(have), _flatten(asked)
    kept_hashes = set(have.settings.get("data_sha256", {}).values())
    for name in [name for name in theirs if name.startswith("data_sha256.")]:
        if name not in mine and theirs[name] in kept_hashes:
            del theirs[name]
    for name in [name for name in mine if name.startswith("data_sha256.") and name not in theirs]:
        del mine[name]
    encoder = have.settings.get("encoder_sha256")
    if encoder and encoder == asked.settings.get("encoder_sha256"):
        mine["recipe.encoder"] = theirs.get("recipe.encoder")
    return [
        f"  {field}: the run has {mine.get(field)!r}, you ask for {theirs.get(field)!r}"
        for field in sorted(mine.keys() | theirs.keys())
        if mine.get(field) != theirs.get(field)
    ]


def hash_files(
    task: Task, data: Path, splits: Sequence[str], languages: Sequence[str]
) -> dict[str, str]:
    """Sha256 of the files of some splits and languages, by their path inside the data folder."""
    hashes = {}
    for split in splits:
        for language in languages:
            path = find_file(task, data, split, language)
            if path is not None:
                hashes[path.relative_to(data).as_posix()] = sha256_file(path)
        if split == "train":
            patterns = {p for target in task.targets for p in target.file}
            names = {fill_language(p, language) for p in patterns for language in languages}
            there = [name for name in sorted(names) if (data / name).is_file()]
            hashes |= {name: sha256_file(data / name) for name in there}
    return hashes


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


def _flatten(frozen: Frozen) -> Row:
    plain: Row = json.loads(json.dumps(dict(frozen.settings)))
    kept = {key: value for key, value in plain.items() if key not in _NOT_FROZEN}
    for name in ("data_sha256", "encoder_sha256", "extra_sha256", "texts_sha256"):
        kept |= _prefix(name, kept.pop(name, {}))
    task = {k: v for k, v in tomllib.loads(frozen.task_text).items() if k not in _TASK_PROSE}
    return {**kept, **_prefix("recipe", frozen.recipe), **_prefix("task", task)}


def _prefix(prefix: str, fields: Mapping[str, Any]) -> Row:
    return {f"{prefix}.{key}": value for key, value in fields.items()}


def _to_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_to_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _to_tuples(item) for key, item in value.items()}
    return value
