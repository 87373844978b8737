"""Examples: the organisers' data files as ids, texts and labels, with every oddity named.

A run keeps them as JSON, and knows the files by their hashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semeval_kit.data.labels import Wanted
from semeval_kit.data.rows import read_rows
from semeval_kit.data.texts import Note, describe_duplicates
from semeval_kit.errors import KitError
from semeval_kit.files import sha256_file
from semeval_kit.plurals import count_noun
from semeval_kit.task.schema import FILE_KINDS, fill_language
from semeval_kit.task.task import Task

if TYPE_CHECKING:
    from pandas import DataFrame


_NO_FOLDER = "{}: no such folder. Give the folder with the organisers' files (--data)."


@dataclass(frozen=True)
class Examples:
    """Rows of a task: what they say and which labels they have.

    `labels` is (n_examples, n_labels): 0 or 1, for intensity 0..max, NaN where not annotated.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    languages: tuple[str, ...]
    label_names: tuple[str, ...]
    labels: NDArray[np.float64]
    notes: tuple[Note, ...] = ()
    """What was accepted or is worth a warning, each with its file."""
    cells: tuple[tuple[str, ...], ...] = ()
    """The text columns of each row before they were joined, for files that echo them."""
    label_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Language -> label columns in the order of the organisers' header."""
    pairs: tuple[str, ...] = ()
    """The second text of each row; empty where the task has none."""
    contexts: tuple[str, ...] = ()
    """What is read beside each row's text and cut before it; empty where the task has none."""
    groups: tuple[str, ...] = ()
    """The group key of each row: equal ones stay together; empty where the task names none."""
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns that scoring needs -> their cells."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Language and id of every row, by which probabilities and folds know it."""
        return tuple(zip(self.languages, self.ids, strict=True))

    def to_frame(self) -> DataFrame:
        """The rows as a pandas table.

        Its columns are id, language, text, then pair, context and group where there are some, and
        one for each of `label_names`, NaN where not annotated.
        """
        import pandas

        columns: dict[str, Any] = {"id": self.ids, "language": self.languages, "text": self.texts}
        for name, cells in (("pair", self.pairs), ("context", self.contexts)):
            columns |= {name: cells} if cells else {}
        columns |= {"group": self.groups} if self.groups else {}
        labels = {name: self.labels[:, i] for i, name in enumerate(self.label_names)}
        return pandas.DataFrame({**columns, **self.kept, **labels})

    def take(self, indices: ArrayLike) -> Examples:
        """Rows chosen by position or by a boolean mask, in that order."""
        places = np.asarray(indices)
        rows = np.flatnonzero(places) if places.dtype == np.bool_ else places.astype(np.intp)
        taken: dict[str, Any] = {name: _pick(getattr(self, name), rows) for name in _BY_ROW}
        kept = {name: _pick(cells, rows) for name, cells in self.kept.items()}
        return replace(self, labels=self.labels[rows], kept=kept, **taken)

    @classmethod
    def concat(cls, parts: Sequence[Examples]) -> Examples:
        """Examples of the same task one after the other.

        Raises:
            ValueError: there is no part, or the label names differ.
        """
        if len({part.label_names for part in parts}) != 1:
            raise ValueError("concat needs at least one part, all with the same label names")
        return cls(
            **{name: _join(getattr(part, name) for part in parts) for name in (*_BY_ROW, "notes")},
            label_names=parts[0].label_names,
            labels=np.concatenate([part.labels for part in parts]),
            label_order={k: v for part in parts for k, v in part.label_order.items()},
            kept={
                name: _join(part.kept[name] for part in parts)
                for name in parts[0].kept
                if all(name in part.kept for part in parts)
            },
        )


def read_examples(
    task: Task,
    folder: str | Path,
    split: str,
    languages: Iterable[str],
    *,
    labelled: bool | None = None,
) -> Examples:
    """Read a split of some languages, in the order given.

    `labelled`: True wants labels in every row; False leaves them out; None wants them in train and
    dev, and takes what there is in test.

    Raises:
        KitError: a language is unknown, a file is missing, or a file has problems (up to 20 each).
    """
    codes = task.check_languages(languages)
    if not codes:
        raise KitError(f"no language given. Task {task.name} has: {', '.join(task.languages)}.")
    parts, errors = [], []
    for language in codes:
        try:
            parts.append(read_split(task, folder, split, language, labelled=labelled))
        except KitError as error:
            errors.append(error.message)
    if errors:
        raise KitError("\n".join(errors))
    return Examples.concat(parts)


def read_split(
    task: Task, folder: str | Path, split: str, language: str, *, labelled: bool | None = None
) -> Examples:
    """Read a split of one language from all of its files; see `read_examples` for `labelled`.

    Raises:
        KitError: there is no file, or one has problems.
    """
    paths = find_files(task, folder, split, language)
    if not paths:
        raise KitError(_describe_missing(task, folder, split, language))
    label_paths = _find(task, folder, f"{split}_labels", language)
    apart = bool(label_paths) and labelled is not False
    labelled_here = False if apart else labelled
    examples = Examples.concat(
        [read_file(task, path, language, split, labelled=labelled_here) for path in paths]
    )
    if len(set(examples.ids)) < len(examples):
        doubled = next(row_id for row_id in examples.ids if examples.ids.count(row_id) > 1)
        raise KitError(
            f"{paths[-1]}: id '{doubled}' is in another file of the split, too. Keep one of the "
            "rows."
        )
    if apart:
        examples = _join_labels(task, examples, label_paths[0], language, split)
    if split == "train" and labelled is not False:
        examples = _join_auxiliary(task, examples, Path(folder), language)
    return examples


def find_file(task: Task, folder: str | Path, split: str, language: str) -> Path | None:
    """The file of a split and language: the first of the task's patterns that exists, or None.

    Folders are never searched: the official train folder holds a stray test file.
    """
    paths = find_files(task, folder, split, language)
    return paths[0] if paths else None


def find_files(task: Task, folder: str | Path, split: str, language: str) -> tuple[Path, ...]:
    """The files of a split and language: one, or with `data.combine_files` all that exist."""
    split_patterns(task, split)
    paths = _find(task, folder, split, language)
    return paths if task.data.combine_files else paths[:1]


def require_files(task: Task, folder: str | Path, languages: Iterable[str]) -> None:
    """See that a folder holds a file of the task, of any split.

    Raises:
        KitError: there is no such folder, or none of the task's files in it.
    """
    codes = tuple(dict.fromkeys(languages))
    if any(_find(task, folder, kind, code) for kind in FILE_KINDS for code in codes):
        return
    if not Path(folder).is_dir():
        raise KitError(_NO_FOLDER.format(folder))
    raise KitError(
        f"{folder}: holds no file of {task.name} in {', '.join(codes)} (tried "
        f"{', '.join(fill_language(p, codes[0]) for p in task.data.files.train)} and others). Give "
        "the folder with the organisers' files (--data)."
    )


def split_patterns(task: Task, split: str) -> tuple[str, ...]:
    """The task's file patterns of a split (train, dev, test or gold)."""
    if split not in FILE_KINDS:
        raise KitError(f"split '{split}' is unknown. Use train, dev or test.")
    patterns: tuple[str, ...] = getattr(task.data.files, split)
    return patterns


def expects_file(task: Task, split: str, language: str) -> bool:
    """Whether the task says where the file of a language lies, and the language has the split."""
    if split == "gold" or not split_patterns(task, split):
        return False
    return language in (task.train_languages if split == "train" else task.predict_languages)


def read_file(
    task: Task, path: str | Path, language: str, split: str, *, labelled: bool | None = None
) -> Examples:
    """Read one data file of a language; see `read_examples` for `labelled`.

    Raises:
        KitError: the file has problems; up to 20 are told in one error, with lines.
    """
    path = Path(path)
    if split == "train" and "test" in path.name.lower():
        raise KitError(
            f"{path}: a training file with 'test' in its name is refused, since it may leak test "
            "rows. Rename it only if you know that it holds training data."
        )
    needed = labelled if labelled is not None else (True if split != "test" else None)
    rows = read_rows(task, path, Wanted(language, split, needed))
    main = [task.label_slices[target.name] for target in task.main_targets]
    labels = np.concatenate([rows.labels[:, columns] for columns in main], axis=1)
    examples = Examples(
        ids=tuple(rows.ids),
        texts=tuple(rows.texts),
        languages=(language,) * len(rows.texts),
        label_names=task.label_names,
        labels=rows.labels,
        cells=tuple(rows.cells) if task.submission.text_columns else (),
        label_order={language: rows.label_order},
        pairs=tuple(rows.pairs),
        contexts=tuple(rows.contexts),
        groups=tuple(rows.groups),
        kept={name: tuple(cells) for name, cells in rows.kept.items()},
    )
    notes = [*rows.notes, *describe_duplicates(replace(examples, labels=labels))]
    return replace(examples, notes=tuple(note.at(path) for note in notes))


def read_splits(
    task: Task, data: Path, splits: Sequence[str], languages: Sequence[str]
) -> Examples:
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


def pack_rows(examples: Examples) -> str:
    """Spell examples as one JSON object, a line per field; NaN is null."""
    lines = []
    for each in fields(Examples):
        value = getattr(examples, each.name)
        if isinstance(value, np.ndarray):
            value = [[None if cell != cell else cell for cell in row] for row in value.tolist()]
        elif not isinstance(value, tuple):
            value = dict(value)
        lines.append(f"{json.dumps(each.name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{" + ",\n".join(lines) + "}\n"


def unpack_rows(content: bytes) -> Examples:
    """Make examples of what `pack_rows` wrote, equal to those that it was given.

    Raises:
        ValueError: the content is something else.
    """
    given = json.loads(content)
    names = {each.name for each in fields(Examples)}
    read: dict[str, Any] = {name: _to_tuples(value) for name, value in given.items()}
    if not names >= set(read) or not {"ids", "labels", "label_names"} <= set(read):
        raise ValueError("its fields are not those of examples")
    labels = np.array(given["labels"], dtype=np.float64)  # None becomes NaN
    read["labels"] = labels.reshape(len(read["ids"]), len(read["label_names"]))
    return Examples(**read)


def _find(task: Task, folder: str | Path, kind: str, language: str) -> tuple[Path, ...]:
    patterns = getattr(task.data.files, kind, ())
    paths = (Path(folder) / fill_language(pattern, language) for pattern in patterns)
    return tuple(path for path in paths if path.is_file())


def _join_labels(task: Task, examples: Examples, path: Path, language: str, split: str) -> Examples:
    """Take the labels from a file of their own: by id, or by line where rows have no ids."""
    rows = read_rows(task, path, Wanted(language, split, labels=True, texts=False))
    if task.data.id_column:
        place = {row_id: row for row, row_id in enumerate(rows.ids)}
        missing = [row_id for row_id in examples.ids if row_id not in place]
        if missing:
            raise KitError(
                f"{path}: {count_noun(len(missing), 'id has', 'ids have')} no labels "
                f"(first: {missing[0]}). Add them."
            )
        order = [place[row_id] for row_id in examples.ids]
    elif len(rows.ids) != len(examples):
        raise KitError(
            f"{path}: {count_noun(len(rows.ids), 'label')} for {count_noun(len(examples), 'row')}; "
            "they are joined line by line. Give the file that belongs to the texts."
        )
    else:
        order = list(range(len(examples)))
    notes = (*examples.notes, *(note.at(path) for note in rows.notes))
    return replace(
        examples, labels=rows.labels[order], notes=notes, label_order={language: rows.label_order}
    )


def drop_auxiliary(task: Task, examples: Examples) -> Examples:
    """The examples without the labels of targets that are learnt and never predicted."""
    if len(task.main_targets) == len(task.targets):
        return examples
    slices = [task.label_slices[target.name] for target in task.main_targets]
    labels = np.concatenate([examples.labels[:, columns] for columns in slices], axis=1)
    names = task.without_auxiliary().label_names
    return replace(examples, label_names=names, labels=labels)


def _join_auxiliary(task: Task, examples: Examples, folder: Path, language: str) -> Examples:
    """Take auxiliary targets from files of their own: by id, else by text; NaN where absent."""
    labels, notes = examples.labels.copy(), list(examples.notes)
    for target in task.targets:
        if not target.file:
            continue
        tried = [folder / fill_language(pattern, language) for pattern in target.file]
        paths = [path for path in tried if path.is_file()]
        if not paths:
            note = f"no file for the auxiliary target '{target.name}' of {language}: not annotated"
            notes.append(Note(note, "warning").at(tried[0]))
            continue
        other = read_file(_alone(task, target.name), paths[0], language, "train")
        by_id = {row_id: row for row, row_id in enumerate(other.ids) if task.data.id_column}
        by_text = {text: row for row, text in enumerate(other.texts)}
        places = [
            by_id.get(row_id, by_text.get(text, -1))
            for row_id, text in zip(examples.ids, examples.texts, strict=True)
        ]
        rows = np.array(places)
        columns = task.label_slices[target.name]
        labels[rows >= 0, columns] = other.labels[rows[rows >= 0]]
        counted = count_noun(len(rows), "row has", "rows have")
        note = f"{int((rows >= 0).sum())} of {counted} the target '{target.name}'"
        notes.append(Note(note).at(paths[0]))
    return replace(examples, labels=labels, notes=tuple(notes))


def _alone(task: Task, name: str) -> Task:
    """The task with an auxiliary target as its only one, whose labels a language may lack."""
    alone = task.only(name)
    optional = {language: alone.labels.default for language in alone.languages}
    labels = alone.labels.model_copy(update={"optional": optional})
    return alone.model_copy(update={"labels": labels})


# Fields with something for every row, or for none.
_BY_ROW = ("ids", "texts", "languages", "cells", "pairs", "contexts", "groups")


def _pick(cells: tuple[Any, ...], rows: NDArray[np.intp]) -> tuple[Any, ...]:
    return tuple(cells[row] for row in rows) if cells else ()


def _join(parts: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(item for part in parts for item in part)


def _describe_missing(task: Task, folder: str | Path, split: str, language: str) -> str:
    patterns = split_patterns(task, split)
    if not patterns:
        return f"task {task.name} has no {split} split."
    if not Path(folder).is_dir():
        return _NO_FOLDER.format(folder)
    tried = ", ".join(fill_language(pattern, language) for pattern in patterns)
    return (
        f"{folder}: no {split} file for language '{language}' of {task.name} (tried {tried}). "
        "Give the folder that holds it."
    )


def _to_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_to_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _to_tuples(item) for key, item in value.items()}
    return value
