"""Which column of the organisers' files may be a group key that the task file does not name."""

from __future__ import annotations

from pathlib import Path

from semeval_kit.data.examples import find_file
from semeval_kit.data.labels import Wanted
from semeval_kit.data.rows import read_columns
from semeval_kit.task.task import Task

MAX_SHARE = 0.7
"""A column that may be a group has at most so many values per row."""
MIN_VALUES = 6


def find_group_column(task: Task, folder: Path, language: str) -> dict[str, str]:
    """The coarsest column whose values train rows share and no dev row has, with its counts."""
    places = [find_file(task, folder, split, language) for split in ("train", "dev")]
    tables = [
        read_columns(task, path, Wanted(language, split, labels=None))
        for path, split in zip(places, ("train", "dev"), strict=True)
        if path is not None
    ]
    roles = {task.data.id_column, task.data.split_column, task.data.language_column}
    roles |= {column for target in task.targets for column in (*target.columns, target.column)}
    likely = {}
    for column in tables[0].keys() - roles if len(tables) == 2 else ():
        train, dev = tables[0][column], tables[1].get(column, [])
        values = set(train)
        several = MIN_VALUES <= len(values) <= MAX_SHARE * len(train) and len(set(dev)) > 1
        if several and not values & set(dev):
            likely[column] = len(values)
    if not likely:
        return {}
    column = min(sorted(likely), key=lambda name: likely[name])
    n_rows = len(tables[0][column])
    return {column: f"{n_rows:,} rows of train share {likely[column]:,} values, none is in dev"}
