"""Extra rows: taught to every fold and never held out, with labels or with soft labels.

A file has the task's shape, or it has the columns that `write_soft` lays down: a text and, for
each target, how likely it is.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples, pack_rows, read_file, unpack_rows
from semeval_kit.data.labels import Wanted
from semeval_kit.data.rows import read_columns
from semeval_kit.data.texts import Note, normalize_text
from semeval_kit.errors import KitError
from semeval_kit.files import to_csv
from semeval_kit.plurals import count_noun
from semeval_kit.task.codec import encode_labels, target_names
from semeval_kit.task.metric_facts import NUMERIC
from semeval_kit.task.schema import fill_language
from semeval_kit.task.task import Task

Floats = NDArray[np.float64]
Key = tuple[str, str]
_BESIDE = ("language", "id", "text", "pair", "context")
_LANGUAGE = "{lang}"
_SHOWN = 5


@dataclass(frozen=True)
class ExtraRows:
    """Rows that every fold learns from.

    Attributes:
        examples: what they say; labels are NaN where they are soft.
        targets: `(n_examples, n_targets)`, hard or soft, in the order of the task's targets
            (auxiliary ones included); NaN where not annotated.
        counts: rows of each file, by its path.
    """

    examples: Examples
    targets: Floats
    counts: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> ExtraRows:
        """The rows that are named, in that order."""
        return ExtraRows(self.examples.take(rows), self.targets[rows], self.counts)

    def without(self, keys: set[Key]) -> ExtraRows:
        """The rows whose texts are not among these keys."""
        keys_of_rows = pair_keys(self.examples)
        return self.take(
            np.array([i for i, key in enumerate(keys_of_rows) if key not in keys], dtype=int)
        )


def pair_keys(examples: Examples) -> list[Key]:
    """What makes two rows the same text: text and pair, normalised."""
    pairs = examples.pairs or ("",) * len(examples)
    return [
        (normalize_text(text), normalize_text(pair))
        for text, pair in zip(examples.texts, pairs, strict=True)
    ]


def read_extra(task: Task, patterns: Sequence[str], languages: Sequence[str]) -> ExtraRows:
    """Read files of extra rows.

    Args:
        task: with its auxiliary targets.
        patterns: paths; one with `{lang}` is read for each language whose file is there.
        languages: that are learnt from.

    Raises:
        KitError: a file is missing or has problems, or its language is not known.
    """
    parts: list[ExtraRows] = []
    for pattern in patterns:
        if _LANGUAGE in pattern:
            named = [(Path(fill_language(pattern, code)), code) for code in languages]
            files = [(path, code) for path, code in named if path.is_file()]
        else:
            files = [(Path(pattern), languages[0] if len(languages) == 1 else "")]
        if not files or not files[0][0].is_file():
            raise KitError(f"extra rows '{pattern}': no such file. Correct the path.")
        parts += [_read_one(task, path, code, languages) for path, code in files]
    return ExtraRows(
        Examples.concat([replace(part.examples, kept={}) for part in parts]),
        np.concatenate([part.targets for part in parts]),
        {name: count for part in parts for name, count in part.counts.items()},
    )


def write_soft(task: Task, examples: Examples, probs: Floats) -> str:
    """Spell rows with soft labels as CSV: language, id, text, and a column per target.

    Args:
        task: without auxiliary targets.
        examples: any rows of the task.
        probs: `(n_examples, n_targets)`.
    """
    beside: dict[str, Sequence[str]] = {
        "language": examples.languages,
        "id": examples.ids,
        "text": examples.texts,
    }
    beside |= {"pair": examples.pairs} if examples.pairs else {}
    beside |= {"context": examples.contexts} if examples.contexts else {}
    rows = [
        [*cells, *map(repr, values)]
        for *cells, values in zip(*beside.values(), probs.tolist(), strict=True)
    ]
    return to_csv([*beside, *target_names(task)], rows)


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


def _read_one(task: Task, path: Path, code: str, languages: Sequence[str]) -> ExtraRows:
    if _is_soft(task, path):
        return _read_soft(task, path, code, languages)
    if not code:
        raise KitError(
            f"{path}: of which language are its rows? {', '.join(languages)} are learnt from. "
            "Give a file per language, with {lang} in its path."
        )
    reading, note = _take_other_labels(task, path, code)
    examples = read_file(reading, path, code, "train", labelled=True)
    if note:
        examples = replace(examples, notes=(*examples.notes, Note(note).at(path)))
    return ExtraRows(examples, encode_labels(task, examples.labels), {str(path): len(examples)})


def _take_other_labels(task: Task, path: Path, code: str) -> tuple[Task, str]:
    """The task as a file of another language may have it, and what its labels are read as.

    Labels that the file lacks are not annotated, as long as it has one; labels that only other
    languages of the task have are left out.
    """
    (target, *others), labels = task.main_targets, task.labels
    if target.layout != "columns" or others:
        return task, ""
    there = read_columns(task, path, Wanted(code, "train", labels=None))
    column_of = dict(zip(target.labels, target.columns, strict=True))
    usual = [label for label in task.labels_for(code) if label in column_of]
    lacking = [label for label in usual if column_of[label] not in there]
    of_others = {name for names in (labels.default, *labels.by_language.values()) for name in names}
    strange = [name for name in there if name in of_others and name not in usual]
    if len(lacking) == len(usual) or not (lacking or strange):
        return task, ""
    update = {
        "labels": labels.model_copy(update={"optional": {**labels.optional, code: tuple(lacking)}}),
        "data": task.data.model_copy(
            update={"ignored_columns": (*task.data.ignored_columns, *strange)}
        ),
    }
    told = [f"without {', '.join(lacking)}, which count as not annotated"] if lacking else []
    told += [f"{', '.join(strange)} left out"] if strange else []
    return task.model_copy(update=update), f"labels of another language: {'; '.join(told)}"


def _is_soft(task: Task, path: Path) -> bool:
    """Whether the first line names a text and every target, as `write_soft` does."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        return False  # `read_file` says what is wrong
    names = target_names(task.without_auxiliary())
    return header[:3] == list(_BESIDE[:3]) and set(names) <= set(header)


def _read_soft(task: Task, path: Path, code: str, languages: Sequence[str]) -> ExtraRows:
    names = target_names(task.without_auxiliary())
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise KitError(f"{path}: cannot be read ({error}). Write it again.") from error
    has = set(rows[0]) if rows else set()
    if task.data.has_pairs and rows and "pair" not in has:
        raise KitError(f"{path}: has no column 'pair', which the task's rows have. Add it.")
    values = _read_probs(task, path, rows, names)
    unknown = sorted({row["language"] or code for row in rows} - set(languages))
    if unknown:
        raise KitError(f"{path}: language '{unknown[0]}' is not learnt from. Leave its rows out.")
    columns = {name: tuple(row.get(name) or "" for row in rows) for name in _BESIDE}
    whole = np.full((len(rows), len(target_names(task))), np.nan)
    slices = [task.target_slices[target.name] for target in task.main_targets]
    whole[:, [column for place in slices for column in range(place.start, place.stop)]] = values
    examples = Examples(
        ids=columns["id"],
        texts=columns["text"],
        languages=tuple(language or code for language in columns["language"]),
        label_names=task.label_names,
        labels=np.full((len(rows), len(task.label_names)), np.nan),
        notes=(Note(f"{count_noun(len(rows), 'row')} with soft labels").at(path),),
        pairs=columns["pair"] if "pair" in has else (),
        contexts=columns["context"] if "context" in has else (),
    )
    return ExtraRows(examples, whole, {str(path): len(rows)})


def _read_probs(
    task: Task, path: Path, rows: Sequence[Mapping[str, str]], names: Sequence[str]
) -> Floats:
    """The columns of the targets, `(n_rows, n_names)`; NaN where a cell is blank."""
    low, high = (-np.inf, np.inf) if task.kind in NUMERIC else (0.0, 1.0)
    expected = "a number" if task.kind in NUMERIC else "0 to 1"
    problems: list[str] = []
    values = np.full((len(rows), len(names)), np.nan)
    for number, row in enumerate(rows):
        for column, name in enumerate(names):
            cell = (row[name] or "").strip()
            try:
                value = float(cell) if cell else np.nan
            except ValueError:
                value = np.inf
            if cell and not (np.isfinite(value) and low <= value <= high):
                where = f"{path}, row {number + 1}"
                problems.append(f"{where}: '{name}' is {cell!r}; expected {expected}, or blank.")
            values[number, column] = value
    if problems:
        more = f"\n... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise KitError("\n".join(problems[:_SHOWN]) + more)
    return values
