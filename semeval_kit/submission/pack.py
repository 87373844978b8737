"""Packing: prediction files in the organisers' header and row order, and the zip of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semeval_kit.data.examples import Examples
from semeval_kit.data.reference import Place, Reference
from semeval_kit.errors import KitError
from semeval_kit.files import to_csv, write_atomic
from semeval_kit.submission.archive import (
    Block,
    header_of,
    is_shared,
    lay_out,
    make_zip,
    read_submission,
    read_zip,
)
from semeval_kit.submission.reading import read_predictions
from semeval_kit.submission.validate import Validation, validate_contents
from semeval_kit.task.schema import Member
from semeval_kit.task.task import Task


def write_predictions(
    task: Task, language: str, examples: Examples, preds: ArrayLike, path: str | Path
) -> Path:
    """Write the prediction files of a language in the organisers' header and row order.

    `preds` is (n_examples, n_labels), with rows as `examples` (those of other languages are passed
    over) and columns as `examples.label_names` or those of the main targets; labels that the
    language does not have are not written. Where the zip has several kinds of file, each has one
    beside the first, see `layout_path`. Written atomically, with LF, and only if it reads back the
    same.

    Raises:
        KitError: a prediction is no number that its target can have, or a row has not exactly one
            label.
    """
    path = Path(path)
    values = _main_columns(task, examples, np.asarray(preds), path)
    rows = [i for i, other in enumerate(examples.languages) if other == language]
    order_of_header = examples.label_order.get(language)
    labels = task.name_answers(order_of_header or task.labels_for(language))
    if len(task.main_targets) == 1:
        main = task.main_targets[0]
        plain = dict(zip(main.label_names, main.labels, strict=True))
        order = [plain.get(name, name) for name in examples.label_names]
        values = values[:, [order.index(label) for label in labels]]
    reference = Reference(
        language=language,
        place="the test examples",
        ids=tuple(examples.ids[i] for i in rows),
        labels=labels,
        gold=None,
        cells=tuple(examples.cells[i] for i in rows) if examples.cells else (),
    )
    for number, layout in enumerate(task.submission.layouts):
        if layout.filled:
            _write_member(task, layout, reference, values[rows], layout_path(path, number))
    return path


def layout_path(path: str | Path, number: int) -> Path:
    """Where the file of the zip's n-th kind lies, from 0, if the first kind lies at `path`."""
    path = Path(path)
    return path if number == 0 else path.with_name(f"{path.stem}.{number + 1}{path.suffix}")


def pack_submission(
    task: Task,
    files: Mapping[str, str | Path],
    zip_path: str | Path,
    reference: Place | None = None,
    *,
    data: str | Path | None = None,
) -> Validation:
    """Zip prediction files, {language: path}, in the task's layout.

    The same files give the same bytes. The zip is validated (against `reference`, see
    `validate_submission`) before it is written, so that a wrong one never has a name.

    Returns:
        What the validator said of the zip at `zip_path`: warnings and what it holds.

    Raises:
        KitError: a file cannot be read, or the submission is not valid.
    """
    zip_path = Path(zip_path)
    if not files:
        raise KitError(f"{zip_path}: no prediction files to pack. Predict a language first.")
    members: dict[str, bytes] = {}
    for number, layout in enumerate(task.submission.layouts):
        if layout.filled:
            parts = {code: _read(layout_path(path, number)) for code, path in files.items()}
            if is_shared(task, layout):
                members[layout.member] = _join(layout, [parts[code] for code in sorted(parts)])
            else:
                members |= {layout.member_for(code): data for code, data in parts.items()}
    content = make_zip(members)
    back = read_zip(content, str(zip_path))
    if back.hazards or back.files != members:
        hazards = "\n".join(hazard.message for hazard in back.hazards)
        raise KitError(f"{zip_path}: the zip read back differs from its files. {hazards}")
    validation = validate_contents(task, back, reference, data=data)
    if not validation.ok:
        raise KitError("\n".join([f"{zip_path}: not written.", *validation.errors]))
    write_atomic(zip_path, content)
    if zip_path.read_bytes() != content:
        raise KitError(f"{zip_path}: the disk gave back other bytes. Pack again.")
    return validation


def merge_zips(paths: Sequence[str | Path], zip_path: str | Path) -> list[str]:
    """Put the files of several zips into one, for a competition whose subtasks are tasks here.

    Each file is in one of the zips or folders, or the same in several.

    Returns:
        The names of its files. Check it by the rules of each task.

    Raises:
        KitError: a zip cannot be read or is refused, or two hold different files of one name.
    """
    members: dict[str, bytes] = {}
    place_of: dict[str, str] = {}
    for path in paths:
        contents = read_submission(path)
        if contents.hazards:
            raise KitError("\n".join(hazard.message for hazard in contents.hazards))
        for name, data in contents.files.items():
            if members.setdefault(name, data) != data:
                raise KitError(
                    f"{contents.place}: its '{name}' differs from that of {place_of[name]}. "
                    "Leave one of the two out."
                )
            place_of.setdefault(name, contents.place)
    write_atomic(Path(zip_path), make_zip(members))
    return sorted(members)


def _main_columns(
    task: Task, examples: Examples, preds: NDArray[np.generic], path: Path
) -> NDArray[np.generic]:
    """The columns of the targets that are predicted."""
    slices, n_labels = task.label_slices, len(examples.label_names)
    columns = [k for target in task.main_targets for k in range(n_labels)[slices[target.name]]]
    if preds.shape == (len(examples), n_labels):
        return preds[:, columns]
    if preds.shape != (len(examples), len(columns)):
        raise KitError(
            f"{path}: predictions have shape {preds.shape}; the examples need "
            f"{(len(examples), n_labels)}."
        )
    return preds


def _write_member(
    task: Task, layout: Member, reference: Reference, values: NDArray[np.generic], path: Path
) -> None:
    blocks = lay_out(task, layout, reference.labels)
    answers = values.astype(np.float64)
    for block in blocks:
        rows, target = answers[:, block.columns], block.target
        _check_values(path, reference.ids, block, rows)
        if target.layout == "joined" and target.none_word in target.labels:
            # The word for "nothing" may be a label itself, such as neutral.
            rows[~rows.any(axis=1), target.labels.index(target.none_word)] = 1
    data = _format_predictions(task, layout, blocks, reference, answers)
    expected = reference
    if not layout.id_column:
        expected = replace(reference, ids=tuple(str(i + 1) for i in range(len(reference.ids))))
    back = read_predictions(task, data, str(path), reference.language, expected, layout)
    back.problems.raise_if_any()
    for block in blocks:
        wanted = answers[:, block.columns]
        if block.target.is_numeric:
            wanted = np.array(
                [[float(layout.number_format.format(v)) for v in row] for row in wanted]
            )
        if not np.array_equal(back.preds[:, block.columns], wanted):
            raise KitError(f"{path}: predictions read back differ from those written.")
    write_atomic(path, data)


def _check_values(
    path: Path, ids: tuple[str, ...], block: Block, values: NDArray[np.float64]
) -> None:
    target, numeric, largest = block.target, block.target.is_numeric, block.target.largest
    with np.errstate(invalid="ignore"):
        allowed = np.isfinite(values)
        if not numeric:
            allowed &= (values == np.floor(values)) & (values >= 0) & (values <= largest)
    if not allowed.all():
        i, j = (int(k) for k in np.argwhere(~allowed)[0])
        wanted = "a number" if numeric else f"a whole number from 0 to {largest}"
        raise KitError(
            f"{path}: id {ids[i]}: label '{target.labels[j]}' is {values[i, j]:g}; expected "
            f"{wanted}."
        )
    if target.kind == "singlelabel" and not (values.sum(axis=1) == 1).all():
        i = int(np.argmax(values.sum(axis=1) != 1))
        raise KitError(f"{path}: id {ids[i]}: exactly one label must be 1.")


def _format_predictions(
    task: Task,
    layout: Member,
    blocks: tuple[Block, ...],
    reference: Reference,
    answers: NDArray[np.float64],
) -> bytes:
    header = header_of(layout, blocks)
    echoed = [task.data.text_columns.index(name) for name in layout.text_columns]
    lines: list[list[str]] = []
    for i in _order(layout, reference.ids):
        cells = [reference.ids[i]] if layout.id_column else []
        cells += [reference.cells[i][position] for position in echoed]
        for block in blocks:
            cells += block.spell(answers[i], layout.number_format)
        lines.append(cells)
    if layout.is_jsonl:
        numbers = {name for block in blocks if block.target.is_numeric for name in block.header}
        rows = [
            ", ".join(
                f"{json.dumps(name)}: {cell if name in numbers else json.dumps(cell)}"
                for name, cell in zip(header, line, strict=True)
            )
            for line in lines
        ]
        return "".join(f"{{{row}}}\n" for row in rows).encode()
    if layout.header:
        lines.insert(0, list(header))
    if not layout.quoted:
        return "".join(layout.delimiter.join(line) + "\n" for line in lines).encode()
    return to_csv([], lines, layout.delimiter).encode()


def _order(layout: Member, ids: tuple[str, ...]) -> list[int]:
    """Positions of the rows in the order of the file; ids that end in numbers count by them."""
    if layout.order == "test":
        return list(range(len(ids)))
    keys = [
        [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"(\d+)", row_id)]
        for row_id in ids
    ]
    return sorted(range(len(ids)), key=keys.__getitem__)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KitError(f"{path}: cannot be read ({error.strerror}).") from error


def _join(layout: Member, parts: list[bytes]) -> bytes:
    """Files of several languages as one, with the first one's header."""
    if layout.is_jsonl or not layout.header:
        return b"".join(parts)
    return b"".join(part if i == 0 else part.partition(b"\n")[2] for i, part in enumerate(parts))
