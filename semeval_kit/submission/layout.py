"""Submissions: prediction files in the organisers' header and row order, and the zip of them."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semeval_kit.data.examples import Examples
from semeval_kit.data.reference import Place, Reference
from semeval_kit.errors import KitError
from semeval_kit.submission.archive import Contents, read_submission, read_zip
from semeval_kit.submission.predictions import read_predictions
from semeval_kit.submission.validate import validate_submission
from semeval_kit.task.task import Task

__all__ = ["Contents", "pack_submission", "read_submission", "write_predictions"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""


def write_predictions(
    task: Task, language: str, examples: Examples, preds: ArrayLike, path: str | Path
) -> Path:
    """Write the prediction file of a language in the organisers' header and row order.

    `preds` is (n_examples, n_labels) of whole numbers, with rows as `examples` (those of other
    languages are passed over) and columns as `examples.label_names`; labels that the language does
    not have are not written. Written atomically, with LF.

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
    chosen = _check_values(task, examples, values[rows][:, columns], rows, labels, path)
    if task.submission.none_word in labels:
        # The word for "nothing" may be a label itself, such as neutral.
        chosen[~chosen.any(axis=1), labels.index(task.submission.none_word)] = 1
    reference = Reference(
        language=language,
        place="the test examples",
        ids=tuple(examples.ids[i] for i in rows),
        labels=labels,
        gold=None,
        cells=tuple(examples.cells[i] for i in rows) if examples.cells else (),
    )
    data = _format_predictions(task, reference, chosen)
    found = read_predictions(task, data, str(path), language, _as_written(task, reference))
    found.problems.raise_if_any()
    if not np.array_equal(found.preds, chosen):
        raise KitError(f"{path}: predictions read back differ from those written.")
    _write_atomic(path, data)
    return path


def pack_submission(
    task: Task,
    files: Mapping[str, str | Path],
    zip_path: str | Path,
    reference: Place | None = None,
    *,
    data: str | Path | None = None,
) -> Path:
    """Zip prediction files, {language: path}, in the task's layout.

    The same files give the same bytes: sorted members, fixed times and permissions, and no
    compression, because zlib's output differs between its versions; a submission of 28 languages
    is 2 MB. The zip is read back and validated under a temporary name (against `reference`, see
    `validate_submission`), and gets its own name only if nothing is wrong.

    Raises:
        KitError: a file cannot be read, or the submission is not valid.
    """
    if not files:
        raise KitError(f"{zip_path}: no prediction files to pack. Predict a language first.")
    members = {
        task.submission.member_for(language): _read(path) for language, path in files.items()
    }
    content = _zip_bytes(members)
    back = read_zip(content, str(zip_path))
    if back.hazards or back.files != members:
        hazards = "\n".join(hazard.message for hazard in back.hazards)
        raise KitError(f"{zip_path}: the zip read back differs from its files. {hazards}")
    zip_path = Path(zip_path)
    zip_path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _write_temporary(zip_path, content)
    try:
        validation = validate_submission(task, temporary, reference, data=data)
        if not validation.ok:
            reasons = "\n".join(validation.errors).replace(str(temporary), str(zip_path))
            raise KitError(f"{zip_path}: not written.\n{reasons}")
        os.replace(temporary, zip_path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    return zip_path


def _check_values(
    task: Task,
    examples: Examples,
    values: NDArray[np.generic],
    rows: list[int],
    labels: tuple[str, ...],
    path: Path,
) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    allowed = (whole == values) & (whole >= 0) & (whole <= task.max_value)
    if not allowed.all():
        i, j = (int(k) for k in np.argwhere(~allowed)[0])
        raise KitError(
            f"{path}: id {examples.ids[rows[i]]}: label '{labels[j]}' is {values[i, j]}; expected "
            f"a whole number from 0 to {task.max_value}."
        )
    if task.kind == "singlelabel" and not (whole.sum(axis=1) == 1).all():
        i = int(np.argmax(whole.sum(axis=1) != 1))
        raise KitError(f"{path}: id {examples.ids[rows[i]]}: exactly one label must be 1.")
    return whole


def _format_predictions(task: Task, reference: Reference, preds: NDArray[np.int64]) -> bytes:
    layout = task.submission
    names = reference.labels if layout.label_layout == "columns" else (layout.label_column,)
    header = [*([layout.id_column] if layout.id_column else []), *layout.text_columns, *names]
    lines = [header] if layout.header else []
    for i, row_id in enumerate(reference.ids):
        cells = [row_id] if layout.id_column else []
        if layout.text_columns:
            echoed = [task.data.text_columns.index(name) for name in layout.text_columns]
            cells += [reference.cells[i][position] for position in echoed]
        lines.append([*cells, *_format_labels(task, reference.labels, preds[i])])
    if not layout.quoted:
        return "".join(layout.delimiter.join(line) + "\n" for line in lines).encode()
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=layout.delimiter, lineterminator="\n").writerows(lines)
    return buffer.getvalue().encode()


def _format_labels(task: Task, labels: tuple[str, ...], row: NDArray[np.int64]) -> list[str]:
    layout = task.submission
    if layout.label_layout == "columns":
        return [str(int(value)) for value in row]
    chosen = [label for label, value in zip(labels, row, strict=True) if value]
    return [layout.label_joiner.join(chosen) if chosen else layout.none_word]


def _as_written(task: Task, reference: Reference) -> Reference:
    """The reference with ids as the file has them: row numbers where it has none."""
    if task.submission.id_column:
        return reference
    numbers = tuple(str(number) for number in range(1, len(reference.ids) + 1))
    return Reference(reference.language, reference.place, numbers, reference.labels, None)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise KitError(f"{path}: cannot be read ({error.strerror}).") from error


def _zip_bytes(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _write_atomic(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(_write_temporary(path, data), path)
