"""Files that lie among a task's data files but belong to none of its languages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semeval_kit.data.examples import split_patterns
from semeval_kit.task.schema import SPLITS, fill_language
from semeval_kit.task.task import Task


def find_strays(tasks: Sequence[Task], folder: str | Path) -> list[str]:
    """Name the files that lie beside the expected ones but belong to no language of the tasks.

    Folders are listed, never read: what is not expected by name is not opened.
    """
    expected: dict[Path, set[str]] = {}
    endings: dict[Path, set[str]] = {}
    for task in tasks:
        for split in (*SPLITS, "gold"):
            for pattern in split_patterns(task, split):
                for language in task.languages:
                    path = Path(folder) / fill_language(pattern, language)
                    expected.setdefault(path.parent, set()).add(path.name)
                    endings.setdefault(path.parent, set()).add(path.suffix)
    found = []
    for place, names in expected.items():
        if not place.is_dir():
            continue
        for path in sorted(place.iterdir()):
            odd = path.name not in names and not path.name.startswith(".")
            if odd and path.is_file() and path.suffix in endings[place]:
                found.append(f"{path}: {_describe_stray(path, tasks)}")
    return found


def _describe_stray(path: Path, tasks: Sequence[Task]) -> str:
    trained = {
        (pattern.rpartition("/")[0]).rpartition("/")[2]
        for task in tasks
        for pattern in task.data.files.train
    }
    if path.parent.name in trained and "test" in path.name.lower():
        return "a test file among train files; not read, and never to be trained on"
    return "belongs to no language of the task; not read"
