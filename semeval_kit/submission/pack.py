"""Packing: prediction files in the organisers' header and row order, and the zip of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semeval_kit.data.examples import Examples
from semeval_kit.data.reference import Place, Reference
from semeval_kit.errors import KitError
from semeval_kit.files import write_atomic
from semeval_kit.submission.archive import make_zip, read_zip
from semeval_kit.submission.layout import expected_header, read_predictions
from semeval_kit.submission.validate import Validation, validate_contents
from semeval_kit.task.task import Task


def write_predictions(
    task: Task, language: str, examples: Examples, preds: ArrayLike, path: str | Path
) -> Path:
    """Write the prediction file of a language in the organisers' header and row order.

    `preds` is (n_examples, n_labels) of whole numbers, with rows as `examples` (those of other
    languages are passed over) and columns as `examples.label_names`; labels that the language does
    not have are not written. Written atomically, with LF, and only if it reads back the same.

    Raises:
        KitError: a prediction is no whole number in range, or a row has not exactly one label.
    """
    path = Path(path)
    values = np.asarray(preds)
    if values.shape != examples.labels.shape:
        raise KitError(
            f"{path}: predictions have shape {values.shape}; the examples need "
            f"{examples.labels.shape}."
        )
    rows = [i for i, other in enumerate(examples.languages) if other == language]
    labels = examples.label_order.get(language) or task.labels_for(language)
    columns = [examples.label_names.index(label) for label in labels]
    layout = task.submission
    ids = tuple(examples.ids[i] for i in rows)
    whole = _check_values(task, path, ids, labels, values[rows][:, columns])
    if layout.none_word in labels:
        # The word for "nothing" may be a label itself, such as neutral.
        whole[~whole.any(axis=1), labels.index(layout.none_word)] = 1
    reference = Reference(
        language=language,
        place="the test examples",
        ids=ids if layout.id_column else tuple(str(i + 1) for i in range(len(ids))),
        labels=labels,
        gold=None,
        cells=tuple(examples.cells[i] for i in rows) if examples.cells else (),
    )
    data = _format_predictions(task, reference, whole)
    back = read_predictions(task, data, str(path), language, reference)
    back.problems.raise_if_any()
    if not np.array_equal(back.preds, whole):
        raise KitError(f"{path}: predictions read back differ from those written.")
    write_atomic(path, data)
    return path


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
    members = {}
    for language, path in files.items():
        try:
            members[task.submission.member_for(language)] = Path(path).read_bytes()
        except OSError as error:
            raise KitError(f"{path}: cannot be read ({error.strerror}).") from error
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


def _check_values(
    task: Task,
    path: Path,
    ids: tuple[str, ...],
    labels: tuple[str, ...],
    values: NDArray[np.generic],
) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    allowed = (whole == values) & (whole >= 0) & (whole <= task.max_value)
    if not allowed.all():
        i, j = (int(k) for k in np.argwhere(~allowed)[0])
        raise KitError(
            f"{path}: id {ids[i]}: label '{labels[j]}' is {values[i, j]}; expected "
            f"a whole number from 0 to {task.max_value}."
        )
    if task.submission.label_layout == "name" and not (whole.sum(axis=1) == 1).all():
        i = int(np.argmax(whole.sum(axis=1) != 1))
        raise KitError(f"{path}: id {ids[i]}: exactly one label must be 1.")
    return whole


def _format_predictions(task: Task, reference: Reference, preds: NDArray[np.int64]) -> bytes:
    layout = task.submission
    echoed = [task.data.text_columns.index(name) for name in layout.text_columns]
    lines = [list(expected_header(task, reference.language, reference))] if layout.header else []
    for i, row_id in enumerate(reference.ids):
        cells = [row_id] if layout.id_column else []
        cells += [reference.cells[i][position] for position in echoed]
        if layout.label_layout == "columns":
            cells += [str(int(value)) for value in preds[i]]
        else:
            present = [reference.labels[j] for j in np.flatnonzero(preds[i])]
            cells.append(layout.label_joiner.join(present) if present else layout.none_word)
        lines.append(cells)
    if not layout.quoted:
        return "".join(layout.delimiter.join(line) + "\n" for line in lines).encode()
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=layout.delimiter, lineterminator="\n").writerows(lines)
    return buffer.getvalue().encode()
