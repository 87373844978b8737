"""The layout of prediction files: their names in the zip, their columns, their cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.reference import Reference
from semeval_kit.task.codec import LAYOUTS, NUMERIC, spell_labels
from semeval_kit.task.schema import Member, Target
from semeval_kit.task.task import Task


@dataclass(frozen=True)
class Block:
    """A target as a file spells it."""

    target: Target
    """With the labels, the layout and the marks of this file."""
    header: tuple[str, ...]
    """The columns of the file that hold it."""
    columns: slice
    """Its columns among the answers."""

    @property
    def numeric(self) -> bool:
        """Whether its cells are real numbers."""
        return self.target.kind in NUMERIC

    def spell(self, answers: NDArray[np.float64], number_format: str) -> tuple[str, ...]:
        """The cells of a row of answers, `(n_labels,)` of all targets."""
        return spell_labels(self.target, answers[self.columns], number_format)


def answer_labels(task: Task, language: str, reference: Reference | None = None) -> tuple[str, ...]:
    """Names of the columns of answers: the language's labels, or those of all main targets."""
    if reference:
        return reference.labels
    main = task.main_targets
    if len(main) > 1:
        return tuple(name for target in main for name in target.label_names)
    return task.labels_for(language)


def lay_out(task: Task, layout: Member, labels: tuple[str, ...]) -> tuple[Block, ...]:
    """The targets of a file in its order; `labels` are the columns of answers."""
    main = {target.name: target for target in task.main_targets}
    slices, start = {}, 0
    for name, target in main.items():
        width = len(labels) if len(main) == 1 else len(target.labels)
        slices[name] = slice(start, start + width)
        start += width
    names = layout.targets or tuple(main)
    blocks = []
    for name in names:
        target, marks = main[name], dict[str, str]()
        own = labels if len(main) == 1 else target.labels
        spelling = {label: layout.values.get(label, label) for label in own}
        kind_of_layout, column = target.layout, target.column
        if len(names) == 1 and layout.label_layout in LAYOUTS[target.kind]:
            kind_of_layout, column = layout.label_layout, layout.label_column
            marks = {"joiner": layout.label_joiner, "none_word": layout.none_word}
        header: tuple[str, ...] = (layout.columns.get(name, column),)
        if kind_of_layout == "columns":
            header = tuple(layout.columns.get(label, label) for label in own)
        spelled: dict[str, Any] = {
            "labels": tuple(spelling.values()),
            "scopes": tuple(spelling.get(scope, scope) for scope in target.scopes),
            "layout": kind_of_layout,
            "values": {},
            **marks,
        }
        blocks.append(Block(target.model_copy(update=spelled), header, slices[name]))
    return tuple(blocks)


def header_of(layout: Member, blocks: tuple[Block, ...]) -> tuple[str, ...]:
    """The columns of a prediction file, whether or not it has a header line."""
    names = tuple(name for block in blocks for name in block.header)
    return (*([layout.id_column] if layout.id_column else []), *layout.text_columns, *names)


def is_shared(task: Task, layout: Member) -> bool:
    """Whether one file holds the rows of all languages."""
    return "{lang}" not in layout.member and len(task.scoring.languages) > 1


def match_member(task: Task, path: str) -> tuple[int, str | None] | None:
    """Which kind of file of the zip, and which language, a path names; None if neither.

    The language is None for a file that holds all of them, and may be one that the task lacks.
    """
    matches = []
    for number, layout in enumerate(task.submission.layouts):
        match = layout.name_pattern.fullmatch(PurePosixPath(path).name)
        if match:
            alone = None if is_shared(task, layout) else task.scoring.languages[0]
            matches.append((number, match.groupdict().get("lang", alone)))
    languages = (None, *task.scoring.languages)
    return next(
        (entry for entry in matches if entry[1] in languages), matches[0] if matches else None
    )


def join_references(references: Sequence[Reference]) -> Reference:
    """What a file that holds all languages has to match: their rows, one language after another."""
    first = references[0]
    return replace(
        first,
        language="",
        place=", ".join(dict.fromkeys(reference.place for reference in references)),
        ids=tuple(row_id for reference in references for row_id in reference.ids),
        gold=None,
        cells=tuple(cells for reference in references for cells in reference.cells),
    )
