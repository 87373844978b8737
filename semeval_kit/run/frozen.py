"""What of a run must not change, and what may: places, moments and machines."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semeval_kit.data.examples import find_file
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
    known = set(have.settings.get("data_sha256", {}).values())
    for name in [name for name in theirs if name.startswith("data_sha256.")]:
        if name not in mine and theirs[name] in known:
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


def _flatten(frozen: Frozen) -> Row:
    plain: Row = json.loads(json.dumps(dict(frozen.settings)))
    kept = {key: value for key, value in plain.items() if key not in _NOT_FROZEN}
    for name in ("data_sha256", "encoder_sha256", "extra_sha256"):
        kept |= _prefix(name, kept.pop(name, {}))
    task = {k: v for k, v in tomllib.loads(frozen.task_text).items() if k not in _TASK_PROSE}
    return {**kept, **_prefix("recipe", frozen.recipe), **_prefix("task", task)}


def _prefix(prefix: str, fields: Mapping[str, Any]) -> Row:
    return {f"{prefix}.{key}": value for key, value in fields.items()}
