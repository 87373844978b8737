"""Columns: which cell of a row is its id, its text and its labels."""

from __future__ import annotations

from dataclasses import dataclass

from semeval_kit.data.table import Problems
from semeval_kit.task.task import Task, nearest


@dataclass(frozen=True)
class Columns:
    """Positions in a file's header."""

    header: tuple[str, ...]
    id: int | None
    texts: tuple[int, ...]
    labels: dict[str, int]
    """Label -> position, for the layout columns."""
    foreign: dict[str, int]
    """Labels of other languages of the task, which must be blank here -> position."""
    names: int | None
    """Position of the column that names labels, for the other layouts."""
    label_order: tuple[str, ...]
    """The language's labels in the order of the header."""
    notes: tuple[str, ...]


def find_columns(
    task: Task,
    language: str,
    header: tuple[str, ...],
    needed: bool | None,
    problems: Problems,
    *,
    needs_text: bool = True,
) -> Columns:
    """Find the task's columns in a header by name.

    `needed`: whether labels must be there (True), are left out (False), or are taken if there.
    `needs_text`: false for gold files, which may hold ids and labels alone.
    Columns that are missing, unknown or doubled are added to the problems.
    """
    data = task.data
    where = {name: position for position, name in enumerate(header)}
    own = task.labels_for(language) if data.label_layout == "columns" else ()
    foreign = [label for label in task.all_labels if label not in own and label in where]
    foreign = [label for label in foreign if label not in data.ignored_columns]
    needs = [data.id_column] if data.id_column else []
    needs += data.text_columns if needs_text else ()
    takes = list(own) if data.label_layout == "columns" else [data.label_column]
    optional = set(task.labels.optional.get(language, ()))
    present = [name for name in takes if name in where]
    if needed or (present and needed is None):
        needs += [name for name in takes if name not in optional]
    known = {*needs, *data.text_columns, *takes, *data.ignored_columns}
    if data.label_layout == "columns":
        known |= set(foreign)
    _check_header(header, where, needs, known, problems)
    order = tuple(name for name in header if name in own)
    notes = []
    expected = tuple(name for name in own if name in where)
    if order != expected:
        notes.append(f"label columns come as {','.join(order)}: accepted by name")
    return Columns(
        header=header,
        id=where.get(data.id_column) if data.id_column else None,
        texts=tuple(where[name] for name in data.text_columns if name in where),
        labels={} if needed is False else {name: where[name] for name in own if name in where},
        foreign={} if needed is False else {name: where[name] for name in foreign},
        names=None if needed is False or own else where.get(data.label_column),
        label_order=order if own and len(order) == len(own) else task.labels_for(language),
        notes=tuple(notes),
    )


def _check_header(
    header: tuple[str, ...],
    where: dict[str, int],
    needs: list[str],
    known: set[str],
    problems: Problems,
) -> None:
    for name in needs:
        if name not in where:
            shown = ",".join(header)[:120]
            hint = nearest(name, [column for column in header if column not in known])
            problems.add(
                f"column '{name}' is missing{hint}; the header is {shown!r}. Add or rename it.", 1
            )
    for position, name in enumerate(header):
        if where[name] != position:
            problems.add(f"column '{name}' occurs twice in the header. Remove one.", 1)
        elif name not in known:
            hint = nearest(name, [column for column in known if column not in header])
            problems.add(
                f"column '{name}' is unknown{hint}. Rename or remove it, or list it in the task "
                "file under data.ignored_columns.",
                1,
            )
