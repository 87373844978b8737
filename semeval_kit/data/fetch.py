"""Fetching the official files: from a hub data set or a folder, by hash."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from semeval_kit.data.examples import expects_file, find_file, read_file, split_patterns
from semeval_kit.data.reference import read_reference
from semeval_kit.data.survey import describe_positives
from semeval_kit.errors import KitError
from semeval_kit.files import sha256_file, to_csv, write_atomic
from semeval_kit.task.schema import FILE_KINDS, SPLITS, fill_language
from semeval_kit.task.task import Task

Column = Sequence[Any]
Tables = Mapping[str, Mapping[str, Column]]
"""Split -> column name -> values."""
Loader = Callable[[str, str, str], Tables]
"""(repository, config, revision) -> splits."""
MANIFEST = "manifest.json"


def load_tables(
    task: Task, language: str, name: str, revision: str, load: Loader | None = None
) -> Tables:
    """Load the config of a language.

    Raises:
        KitError: it cannot be loaded, for want of a network or of the data set.
    """
    config = task.hub.config_for(language) if task.hub else language
    try:
        return (load or _load_dataset)(name, config, revision)
    # The errors of datasets, huggingface_hub, httpx and fsspec have no base in common.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise KitError(
            f"{name} ({config}): cannot be loaded ({reason}). Without a network, or without that "
            f"data set, copy the organisers' files from a folder: {suggest_copy(task)}"
        ) from error


def render_splits(
    task: Task, language: str, tables: Tables, place: str
) -> Iterator[tuple[str, str]]:
    """Spell the splits of a config as files: (split, text), with `gold` where it lies apart.

    Raises:
        KitError: the columns do not fit the task.
    """
    names = task.hub.splits if task.hub else {}
    for split in SPLITS:
        table = tables.get(names.get(split, split))
        if table is None or not split_patterns(task, split):
            continue
        apart = split == "test" and bool(task.data.files.gold)
        yield split, render_file(task, language, table, f"{place}, {split}", blank=apart)
        if apart and _has_labels(task, language, table):
            yield "gold", render_file(task, language, table, f"{place}, {split}")


def render_file(
    task: Task, language: str, table: Mapping[str, Column], place: str, *, blank: bool = False
) -> str:
    """Spell columns of values as a file of the task: header, ids, texts and labels.

    Args:
        task: its data layout must be one column per label, with a header.
        language: whose label set is written.
        table: column name -> values; labels are whole numbers or None.
        place: what to call the table in a message.
        blank: leave the label cells empty.

    Raises:
        KitError: the task has another layout, or a column is missing.
    """
    data = task.data
    if data.label_layout != "columns" or not data.header:
        raise KitError(
            f"task {task.name}: its files are not one column per label, so they cannot be written "
            f"from a hub data set. Copy them: {suggest_copy(task)}"
        )
    heads = [*([data.id_column] if data.id_column else []), *data.text_columns]
    optional = task.labels.optional.get(language, ())
    labels = [name for name in task.labels_for(language) if name in table or name not in optional]
    for name in (*heads, *(() if blank else labels)):
        if name not in table:
            shown = ", ".join(table)
            raise KitError(
                f"{place}: column '{name}' is missing; there are {shown}. The data set has another "
                f"layout than the task file says. Copy the files instead: {suggest_copy(task)}"
            )
    columns = [[str(value) for value in table[name]] for name in heads]
    columns += [[""] * len(columns[0]) if blank else _spell(table[label]) for label in labels]
    return to_csv([*heads, *labels], zip(*columns, strict=True), data.delimiter)


def suggest_copy(task: Task) -> str:
    """Return the command that copies files instead."""
    return f"semeval-kit data fetch {task.name} --from FOLDER"


@dataclass(frozen=True)
class FetchedFile:
    """A file that is in place. `labels` counts the rows above 0 of each annotated label."""

    path: str
    task: str
    split: str
    language: str
    rows: int
    labels: dict[str, int]
    sha256: str
    source: str


@dataclass(frozen=True)
class Fetched:
    """What a fetch did: the files in place, those that were there before, and what is missing."""

    folder: Path
    files: tuple[FetchedFile, ...]
    kept: tuple[str, ...]
    missing: tuple[str, ...]


def fetch_from_folder(
    task: Task, source: str | Path, folder: str | Path, languages: Sequence[str] | None = None
) -> Fetched:
    """Copy a task's files, byte for byte, from a folder in the organisers' layout.

    Raises:
        KitError: the folder holds no file of the task, a file has problems, or a file that is
            already in place differs.
    """
    source, fetch = Path(source), _Fetch(task, Path(folder), f"copied from {Path(source).name}")
    if not source.is_dir():
        raise KitError(f"{source}: no such folder. Give the folder with the organisers' files.")
    for language in task.check_languages(languages or task.languages):
        for split in FILE_KINDS:
            path = find_file(task, source, split, language)
            if path is not None:
                fetch.place(split, language, path.read_bytes(), path)
            elif expects_file(task, split, language):
                fetch.missing.append(f"{split} of {language}: not in {source}")
        fetch.copy_others(source, language)
    if not fetch.files:
        tried = ", ".join(pattern for split in SPLITS for pattern in split_patterns(task, split))
        raise KitError(
            f"{source}: holds no file of {task.name} (looked for {tried}). "
            "Give the folder that these paths start from."
        )
    return fetch.finish()


def fetch_from_hub(
    task: Task,
    folder: str | Path,
    languages: Sequence[str] | None = None,
    *,
    repo: str | None = None,
    load: Loader | None = None,
    on_language: Callable[[str], None] | None = None,
) -> Fetched:
    """Bring a task's files from its hub data set (parquet, one config per language).

    Where the task keeps gold labels apart, the test file is written with blank labels.

    Args:
        task: its `[hub]` section names the data set.
        folder: where the files go, in the layout of the task's file patterns.
        languages: only these; default: all that the data set holds.
        repo: another data set or a local folder of the same layout.
        load: how a config is loaded; default: `datasets.load_dataset`.
        on_language: told which language comes next.

    Raises:
        KitError: the task names no data set, the hub cannot be reached, the columns do not fit, or
            a file that is already in place differs.
    """
    hub = task.hub
    if hub is None and repo is None:
        raise KitError(
            f"task {task.name} names no data set on a hub. Download its files where the organisers "
            f"offer them{f' ({task.url})' if task.url else ''} and copy them: {suggest_copy(task)}"
        )
    name = repo or (hub.repo if hub else "")
    revision = hub.revision if hub else "main"
    held = hub.languages if hub and hub.languages else task.languages
    fetch = _Fetch(task, Path(folder), f"{name}@{revision}")
    for language in task.check_languages(languages or task.languages):
        if language not in held:
            fetch.missing.append(f"{language}: not in {name}; copy it: {suggest_copy(task)}")
            continue
        if fetch.keep(language):
            continue
        if on_language:
            on_language(language)
        tables = load_tables(task, language, name, revision, load)
        for split, text in render_splits(task, language, tables, f"{name} ({language})"):
            fetch.place(split, language, text.encode("utf-8"))
    if not fetch.files:
        raise KitError(f"{name} holds none of these languages. Copy them: {suggest_copy(task)}")
    return fetch.finish()


class _Fetch:
    """Puts files in place and keeps the manifest."""

    def __init__(self, task: Task, folder: Path, source: str) -> None:
        self.task, self.folder, self.source = task, folder, source
        self.files: list[FetchedFile] = []
        self.kept: list[str] = []
        self.missing: list[str] = []
        self.manifest: dict[str, dict[str, Any]] = _read_manifest(folder)

    def place(self, split: str, language: str, content: bytes, origin: Path | None = None) -> None:
        """Write a file unless it is there with the same content."""
        name = self._name(split, language)
        path = self.folder / name
        if any(other.path == name for other in self.files):
            return  # one file for several splits or languages
        self._verify(name)
        if path.exists() and path.read_bytes() != content:
            raise KitError(
                f"{path}: is already there and differs from {origin or self.source}. "
                "Remove it to fetch it anew, or fetch into another folder with --to."
            )
        if path.exists():
            self.kept.append(name)
            file = self._describe(name, path, split, language, path)
        else:
            # Read before it gets its name: a file with problems is never left in place. Its path
            # ends as it will, because that says how it is spelled.
            part = self.folder / ".part" / name
            for place in (part, path):
                place.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_bytes(content)
                file = self._describe(name, part, split, language, origin or path)
                os.replace(part, path)
            finally:
                shutil.rmtree(self.folder / ".part")
        self.files.append(file)

    def copy_others(self, source: Path, language: str) -> None:
        """Copy further files of a split, labels that lie apart and auxiliary targets, if there."""
        files = self.task.data.files
        patterns = [*files.train_labels, *files.dev_labels]
        patterns += [pattern for target in self.task.targets for pattern in target.file]
        if self.task.data.combine_files:
            patterns += [pattern for kind in FILE_KINDS for pattern in getattr(files, kind)[1:]]
        for pattern in patterns:
            name = fill_language(pattern, language)
            path = self.folder / name
            if ".." in PurePosixPath(name).parts or not (source / name).is_file() or path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, (source / name).read_bytes())

    def keep(self, language: str) -> bool:
        """Keep a language whose files are all in the manifest and in place; False if some lack."""
        wanted = [split for split in SPLITS if expects_file(self.task, split, language)]
        names = [self._name(split, language) for split in wanted]
        if not all(n in self.manifest and (self.folder / n).exists() for n in names):
            return False
        for name in names:
            self._verify(name)
            self.kept.append(name)
            self.files.append(FetchedFile(**{"path": name, **self.manifest[name]}))
        return True

    def finish(self) -> Fetched:
        """Write the manifest."""
        for file in self.files:
            entry = asdict(file)
            # Several tracks may share a file; the first that brought it stays named.
            self.manifest.setdefault(entry.pop("path"), entry)
        ordered = dict(sorted(self.manifest.items()))
        text = json.dumps({"files": ordered}, indent=2, ensure_ascii=False) + "\n"
        write_atomic(self.folder / MANIFEST, text)
        return Fetched(self.folder, tuple(self.files), tuple(self.kept), tuple(self.missing))

    def _name(self, split: str, language: str) -> str:
        inside = [p for p in split_patterns(self.task, split) if not p.startswith("..")]
        if not inside:
            raise KitError(f"task {self.task.name} has no place for its {split} files.")
        return fill_language(inside[0], language)

    def _verify(self, name: str) -> None:
        path, entry = self.folder / name, self.manifest.get(name)
        if entry and path.exists() and sha256_file(path) != entry["sha256"]:
            raise KitError(
                f"{path}: has changed since it was fetched (sha256 is not that of {MANIFEST}). "
                "Remove it to fetch it anew."
            )

    def _describe(
        self, name: str, path: Path, split: str, language: str, shown: Path
    ) -> FetchedFile:
        try:
            rows, labels = _count(self.task, path, split, language)
        except KitError as error:
            raise KitError(error.message.replace(str(path), str(shown))) from error
        return FetchedFile(
            path=name,
            task=self.task.name,
            split=split,
            language=language,
            rows=rows,
            labels=labels,
            sha256=sha256_file(path),
            source=self.source,
        )


def _load_dataset(name: str, config: str, revision: str) -> Tables:
    import datasets

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(name, config, revision=revision)
    return {str(split): table.to_dict() for split, table in loaded.items()}


def _spell(values: Column) -> list[str]:
    # Whole floats come from parquet columns that have room for nulls.
    return [
        ""
        if value is None or value != value
        else str(int(value))
        if value == int(value)
        else str(value)
        for value in values
    ]


def _has_labels(task: Task, language: str, table: Mapping[str, Column]) -> bool:
    return any(
        value is not None for label in task.labels_for(language) for value in table.get(label, ())
    )


def _count(task: Task, path: Path, split: str, language: str) -> tuple[int, dict[str, int]]:
    """Rows and positives per label, read by the rules of training or, for gold, of scoring."""
    if split != "gold":
        apart = bool(getattr(task.data.files, f"{split}_labels", ()))
        examples = read_file(task, path, language, split, labelled=False if apart else None)
        return len(examples), describe_positives(examples)
    reference = read_reference(task, path, language)
    if reference.gold is None:
        raise KitError(f"{path}: gold labels are blank. Give the file that holds them.")
    return len(reference.ids), reference.positives


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        for entry in files.values():
            FetchedFile(path="", **entry)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KitError(
            f"{path}: is no manifest of fetched files. Remove it, and the files will be fetched or "
            "compared anew."
        ) from error
    return dict(files)
