"""Data sets on the hub: how a config is loaded and spelled as the organisers' files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from semeval_kit.data.examples import split_patterns
from semeval_kit.errors import KitError
from semeval_kit.task.schema import SPLITS
from semeval_kit.task.task import Task

Column = Sequence[Any]
Tables = Mapping[str, Mapping[str, Column]]
"""Split -> column name -> values."""
Loader = Callable[[str, str, str], Tables]
"""(repository, config, revision) -> splits."""


def load_tables(
    task: Task, language: str, name: str, revision: str, load: Loader | None = None
) -> Tables:
    """Load the config of a language.

    Args:
        task: its `[hub]` section may give the config another name than the language's code.
        language: the organisers' code.
        name: the data set, or a local folder of the same layout.
        revision: branch, tag or commit.
        load: how; default: `datasets.load_dataset`.

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
    names = task.hub.splits if task.hub else {split: split for split in SPLITS}
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
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=data.delimiter, lineterminator="\n")
    writer.writerow([*heads, *labels])
    writer.writerows(zip(*columns, strict=True))
    return out.getvalue()


def suggest_copy(task: Task) -> str:
    """Return the command that copies files instead."""
    return f"semeval-kit data fetch {task.name} --from FOLDER"


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
