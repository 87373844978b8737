"""References: the organisers' ids, header and, where known, gold labels for each language."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import find_file
from semeval_kit.data.labels import Wanted
from semeval_kit.data.rows import NoRowsError, read_rows
from semeval_kit.errors import KitError
from semeval_kit.task.schema import fill_language
from semeval_kit.task.task import Task


@dataclass(frozen=True)
class Reference:
    """What a prediction file of a language has to match."""

    language: str
    place: str
    ids: tuple[str, ...]
    """Row ids in file order; row numbers from 1 where the task has no ids."""
    labels: tuple[str, ...]
    """Label names in the order of the organisers' header."""
    gold: NDArray[Any] | None
    """(n_examples, n_labels) in the order of `labels`, whole numbers unless a target's kind is
    numeric or a row lacks one of several targets (NaN); None where the labels are blank."""
    cells: tuple[tuple[str, ...], ...] = ()
    """Text columns that the prediction file echoes."""
    groups: tuple[str, ...] = ()
    """The group key of each row, where the task names one and the file has it."""
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns that scoring needs -> their cells."""

    @property
    def positives(self) -> dict[str, int]:
        """Rows above 0 of each label; nothing where there is no gold."""
        if self.gold is None:
            return {}
        return dict(zip(self.labels, (self.gold > 0).sum(axis=0).tolist(), strict=True))


Place = str | Path | Mapping[str, Reference]
"""Where references come from: a folder, a file for one language, or references themselves."""


def find_references(
    task: Task, place: Place, *, only: Collection[str] | None = None
) -> dict[str, Reference]:
    """References of every language that a folder or file holds, or of some of them only.

    A folder holds `<language>.csv`, or the gold or test files of the task's own layout; a file
    belongs to the language that its name gives, or to the task's only one.

    Raises:
        KitError: the place holds no language of the task, or a file has problems.
    """
    if not isinstance(place, str | Path):
        return dict(place)
    path = Path(place)
    if path.is_file():
        language = _language_of(task, path)
        return {language: read_reference(task, path, language)}
    if not path.is_dir():
        raise KitError(f"{path}: no such file or folder. Give the gold labels or the test files.")
    files = {
        language: file
        for language in task.scoring.languages
        if (file := _find_reference_file(task, path, language)) is not None
    }
    if not files:
        raise KitError(
            f"{path}: holds no file of a language of {task.name}. Expected <language>.csv "
            f"(such as {task.scoring.languages[0]}.csv) or the layout of the test files."
        )
    wanted = files if only is None else {name: files[name] for name in files if name in only}
    references = {}
    for language, file in wanted.items():
        # One file for all languages need not hold every language of the task.
        with contextlib.suppress(*([NoRowsError] if task.data.language_column else [])):
            references[language] = read_reference(task, file, language)
    return references


def read_reference(task: Task, path: Path, language: str, split: str = "test") -> Reference:
    """Read ids and labels of a test or gold file; its text columns may be missing.

    `split` is the one that is read of a file that holds several.

    Raises:
        KitError: the file has problems.
    """
    rows = read_rows(task, path, Wanted(language, "gold", labels=None, part=split, texts=False))
    main = task.main_targets
    place = {name: i for i, name in enumerate(task.label_names)}
    labels = task.name_answers(rows.label_order)
    name_of = dict(zip(main[0].labels, main[0].label_names, strict=True)) if len(main) == 1 else {}
    values = rows.labels[:, [place[name_of.get(label, label)] for label in labels]]
    numeric = any(target.is_numeric for target in main)
    blank = np.isnan(values)
    gold: NDArray[Any] | None = values
    if blank.all() or (blank.any() and len(main) == 1):
        gold = None
    elif not numeric and not blank.any():
        gold = values.astype(np.int64)
    return Reference(
        language=language,
        place=str(path),
        ids=tuple(rows.ids),
        labels=labels,
        gold=gold,
        cells=tuple(rows.cells) if task.submission.text_columns else (),
        groups=tuple(rows.groups),
        kept={name: tuple(cells) for name, cells in rows.kept.items()},
    )


def _find_reference_file(task: Task, folder: Path, language: str) -> Path | None:
    files = task.data.files
    # In the folder itself, or where the patterns of the task lead from it.
    names = [f"{language}.csv"]
    names += [PurePosixPath(pattern).name for pattern in files.gold if "/" in pattern]
    for name in names:
        path = folder / fill_language(name, language)
        if path.is_file():
            return path
    return find_file(task, folder, "gold", language) or find_file(task, folder, "test", language)


def _language_of(task: Task, path: Path) -> str:
    languages = task.scoring.languages
    if len(languages) == 1:
        return languages[0]
    words = path.name.lower().replace(".", "_").replace("-", "_").split("_")
    named = [language for language in languages if language.lower() in words]
    if len(named) == 1:
        return named[0]
    raise KitError(
        f"{path}: the file's name does not say which language it holds. Name it <language>.csv, "
        f"such as {languages[0]}.csv, or give the folder."
    )
