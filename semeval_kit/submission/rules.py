"""Rules: what the official programs of SemEval-2025 Task 11 accept, in their order and words.

Rules of 2026: the three Codabench scoring programs, read in `scoring.py` of
Vitaly-Protasov/SemEval2025-Task11-competitions @32f561b. Any failure in one file rejects the whole
submission with scores of zero, while Codabench shows it as Finished.

Rules of 2025: the organisers' checker script, read in `utils.py` of SemEval2025-Task11-Evaluation:
line by line without CSV, so that it knows no quotes and no byte order mark; where it would end with
a traceback, the submission counts as rejected here.

Both are written anew; messages are theirs, since people will search for them. Files of other tasks
are read by generic rules: those of `reading`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.reference import Reference
from semeval_kit.errors import KitError
from semeval_kit.submission import metrics
from semeval_kit.submission.archive import Contents, is_macos_remains, join_references, match_member
from semeval_kit.submission.metrics import count_labels, pool_counts
from semeval_kit.submission.reading import read_predictions
from semeval_kit.task.schema import Member
from semeval_kit.task.task import Task

_Row = dict[str | None, str | list[str] | None]
MAX_MESSAGE = 4000
INPUT = "/in"
"""The input folder that messages name, as in the recorded runs of the official programs."""


_A_COLUMNS = 7
"""Tracks A and C read at most seven label cells of a row."""


class Rejected(Exception):
    """The official program rejects the submission, with this message, cut where it is endless."""

    def __init__(self, message: str) -> None:
        cut = f"{message[:MAX_MESSAGE]}... ({len(message)} characters)"
        super().__init__(message if len(message) <= MAX_MESSAGE else cut)


def find_members_2026(names: Iterable[str]) -> dict[str, str]:
    """Language -> prediction file, as the rules of 2026 find it: any depth, the last path wins.

    Folders count as well: one that is named like a prediction file makes the program fail.

    Raises:
        Rejected: there is none.
    """
    paths = sorted(PurePosixPath(name) for name in names)
    members = {
        path.name.removesuffix(".csv").replace("pred_", "", 1): str(path)
        for path in paths
        if path.name.startswith("pred_")
        and path.name.endswith(".csv")
        and not is_macos_remains(str(path))
    }
    if not members:
        raise Rejected(f"No prediction files named pred_<lang>.csv found under {INPUT}.")
    return members


def read_2026(data: bytes, name: str, reference: Reference, max_value: int) -> NDArray[np.int64]:
    """Predictions (n_examples, n_labels) in the reference's order, under the rules of 2026.

    Raises:
        Rejected: in the order in which the official program looks.
    """
    try:
        return _read_checked(data, name, reference, max_value)
    except StopIteration:
        raise Rejected("StopIteration") from None
    except UnicodeDecodeError as error:
        raise Rejected(str(error)) from None
    except KeyError as error:
        raise Rejected(f"KeyError: {error}") from None
    except csv.Error as error:
        raise Rejected(f"_csv.Error: {error}") from None


def read_2025(
    data: bytes, name: str, reference: Reference, *, intensity: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions of the rows that count, and predictions (n_rows, n_labels), by the rules of 2025.

    Under tracks A and C rows that lack a prediction silently do not count; in track B a row with a
    cell that is no integer counts as zeros.

    Raises:
        Rejected: the checker exits or crashes.
    """
    lines = _read_lines(data, name)
    expected = ["id", *reference.labels]
    header = lines[0].split(",")
    if [cell.lower() for cell in header] != [cell.lower() for cell in expected]:
        raise Rejected(f"{name}: invalid submission header: {header}. Expected {expected}.")
    if len(lines) != len(reference.ids) + 1:
        raise Rejected(f"{name}: predictions and gold data have different number of lines.")
    rows: dict[str, list[list[int]]] = {row_id: [] for row_id in reference.ids}
    width = len(reference.labels)
    for line in lines[1:]:
        row_id, *cells = line.split(",")
        if row_id not in rows:
            raise Rejected(f"{name}: invalid tweet id: {row_id} found in predictions.")
        rows[row_id].append(_read_cells(cells, width if intensity else _A_COLUMNS))
    if intensity:
        counted = {row_id: parsed[0] for row_id, parsed in rows.items() if parsed}
        if len(counted) < len(rows):
            raise Rejected(f"{name}: IndexError: an id has no prediction (another one is doubled).")
    else:
        counted = {row_id: parsed[0] for row_id, parsed in rows.items() if len(parsed) == 1}
    if not counted or any(len(cells) != width for cells in counted.values()):
        raise Rejected(f"{name}: the checker crashes: a row has no {width} whole numbers.")
    if not intensity and any(cell not in (0, 1) for cells in counted.values() for cell in cells):
        raise Rejected(f"{name}: the checker crashes: a value is neither 0 nor 1.")
    positions = [i for i, row_id in enumerate(reference.ids) if row_id in counted]
    preds = [counted[reference.ids[i]] for i in positions]
    try:
        return np.array(positions, dtype=np.int64), np.array(preds, dtype=np.float64)
    except OverflowError as error:
        raise Rejected(f"{name}: the checker crashes: {error}.") from None


@dataclass(frozen=True)
class Answers:
    """What a submission answers in one language, beside its gold."""

    reference: Reference
    gold: NDArray[Any]
    preds: NDArray[Any]
    """Both `(n_examples, n_labels)`; NaN for targets that the submission leaves out."""


def find_members(task: Task, contents: Contents, rules: str) -> dict[tuple[int, str | None], str]:
    """(kind of file, language) -> member, as the rules find them.

    Raises:
        Rejected: there is none, or one is of a language that is not supported.
    """
    members: dict[tuple[int, str | None], str] = {}
    if rules == "2026":
        by_language = find_members_2026([*contents.files, *contents.all_folders()])
        members = {(0, language): member for language, member in by_language.items()}
    else:
        for member in sorted(contents.files):
            match = match_member(task, member)
            if match and task.submission.layouts[match[0]].filled:
                members[match] = member
        if not members:
            name = PurePosixPath(task.submission.layouts[0].member).name
            raise Rejected(f"no prediction files named {name}")
    if rules == "2025":
        _check_folder(task, contents, members)
    named = [code for _, code in members if code is not None]
    unsupported = sorted(code for code in named if code not in task.scoring.languages)
    if unsupported:
        raise Rejected(f"Unsupported prediction files for languages: {', '.join(unsupported)}")
    return members


def read_shared(
    task: Task,
    contents: Contents,
    members: Mapping[tuple[int, str | None], str],
    references: Mapping[str, Reference],
) -> dict[str, Answers]:
    """Answers per language of files that hold all languages."""
    answers: dict[str, Answers] = {}
    for (number, language), member in members.items():
        if language is not None:
            continue
        ordered = [references[code] for code in sorted(references)]
        layout = task.submission.layouts[number]
        whole = join_references(ordered)
        preds = _read_generic(task, contents.files[member], member, whole, layout)
        start = 0
        for reference in ordered:
            part = preds[start : start + len(reference.ids)]
            start += len(part)
            earlier = answers.get(reference.language)
            part = part if earlier is None else _merge(earlier.preds, part)
            answers[reference.language] = Answers(reference, require_gold(reference), part)
    return answers


def read_language(
    task: Task,
    contents: Contents,
    members: Mapping[tuple[int, str | None], str],
    reference: Reference,
    rules: str,
) -> Answers:
    """Answers of one language, of all files that it has.

    Raises:
        KitError: the gold labels are blank.
        Rejected: a file is not accepted.
    """
    gold, preds = require_gold(reference), None
    for (number, language), member in members.items():
        if language != reference.language:
            continue
        name = PurePosixPath(member).name
        if member not in contents.files:
            raise Rejected(f"IsADirectoryError: [Errno 21] Is a directory: '{member}'")
        data = contents.files[member]
        if rules == "2026":
            answers: NDArray[Any] = read_2026(data, name, reference, task.max_value)
        elif rules == "2025":
            intensity = task.kind == "intensity"
            rows, answers = read_2025(data, name, reference, intensity=intensity)
            gold = gold[rows]
        else:
            answers = _read_generic(task, data, name, reference, task.submission.layouts[number])
        preds = answers if preds is None else _merge(preds, answers)
    assert preds is not None
    return Answers(reference, gold, preds)


def require_gold(reference: Reference) -> NDArray[np.int64]:
    """Gold labels of a reference, (n_examples, n_labels).

    Raises:
        KitError: the labels are blank.
    """
    if reference.gold is None:
        raise KitError(
            f"{reference.place}: labels are blank, so there is nothing to score against (the "
            "organisers' test files come without labels). Give the gold labels, or a split that "
            "has labels."
        )
    return reference.gold


def _read_checked(
    data: bytes, name: str, reference: Reference, max_value: int
) -> NDArray[np.int64]:
    expected = ["id", *reference.labels]
    header = next(csv.reader(_open(data)))
    if [cell.strip().lower() for cell in header] != [cell.strip().lower() for cell in expected]:
        raise Rejected(f"{name}: invalid header {header}. Expected {expected}.")
    rows: list[_Row] = list(csv.DictReader(_open(data)))
    if len(rows) != len(reference.ids):
        raise Rejected(_describe_count(name, rows, reference))
    by_id = _index_rows(name, rows)
    missing = sorted(set(reference.ids) - set(by_id))
    if missing:
        raise Rejected(f"{name}: missing ids, first examples: {missing[:5]}.")
    extra = sorted(set(by_id) - set(reference.ids))
    if extra:
        raise Rejected(f"{name}: unexpected ids, first examples: {extra[:5]}.")
    allowed = {str(value): value for value in range(max_value + 1)}
    preds = np.empty((len(rows), len(reference.labels)), dtype=np.int64)
    for i, row_id in enumerate(reference.ids):
        row = by_id[row_id]
        for j, label in enumerate(reference.labels):
            value = str(row[label]).strip()
            if value not in allowed:
                wanted = "0 or 1" if max_value == 1 else "0, 1, 2, or 3"
                raise Rejected(
                    f"{name}: id={row_id} has invalid value for {label}: {value!r}; "
                    f"expected {wanted}."
                )
            preds[i, j] = allowed[value]
    return preds


def _index_rows(name: str, rows: list[_Row]) -> dict[str, _Row]:
    by_id: dict[str, _Row] = {}
    for row in rows:
        row_id = str(row.get("id", "")).strip()
        if not row_id:
            raise Rejected(f"{name}: empty id detected.")
        if row_id in by_id:
            raise Rejected(f"{name}: duplicate id {row_id}.")
        by_id[row_id] = row
    return by_id


def _describe_count(name: str, rows: list[_Row], reference: Reference) -> str:
    gold_id = reference.ids[0]
    pred_id = str(rows[0]["id"]) if rows else ""
    hint = ""
    if "_test_" in gold_id and "_dev_" in pred_id:
        hint = (
            " This looks like a dev-vs-test mismatch: the submission uses dev IDs "
            f"(for example {pred_id}) but the evaluation expects test IDs "
            f"(for example {gold_id})."
        )
    return f"{name}: expected {len(reference.ids)} rows, received {len(rows)} rows.{hint}"


def _open(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")


def _read_lines(data: bytes, name: str) -> list[str]:
    try:
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        raise Rejected(f"{name}: {error}") from None
    lines = text.splitlines()
    if not lines:
        raise Rejected(f"{name}: IndexError: the file is empty.")
    return lines


def _read_cells(cells: list[str], width: int) -> list[int]:
    try:
        return [int(cell) for cell in cells[:width]]
    except ValueError:
        return [0] * width


def _pearson_r(gold: NDArray[Any], preds: NDArray[Any]) -> float:
    values = []
    for labels, answers in zip(gold.T, preds.T, strict=True):
        constant = len(set(labels.tolist())) == 1 or len(set(answers.tolist())) == 1
        r = math.nan if constant else metrics.pearson(labels.tolist(), answers.tolist())
        values.append(round(r, 4))
    return round(sum(values) / len(values), 4)


METRICS_2025: dict[str, Callable[[NDArray[Any], NDArray[Any]], float]] = {
    "macro_f1": lambda gold, preds: round(
        float(np.mean([counts.f1_of_counts for counts in count_labels(gold, preds)])), 4
    ),
    "micro_f1": lambda gold, preds: round(pool_counts(count_labels(gold, preds)).f1_of_counts, 4),
    "pearson_r": _pearson_r,
}
"""As the checker of 2025: each value rounded at 4 decimals, a constant column gives NaN."""


def _read_generic(
    task: Task, data: bytes, name: str, reference: Reference, layout: Member
) -> NDArray[Any]:
    predictions = read_predictions(task, data, name, reference.language, reference, layout)
    if predictions.problems.count:
        raise Rejected("\n".join(predictions.problems.lines))
    return predictions.preds


def _merge(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Answers of files that hold different targets."""
    return np.where(np.isnan(first), second, first)


def _check_folder(
    task: Task, contents: Contents, members: Mapping[tuple[int, str | None], str]
) -> None:
    for (number, _), member in members.items():
        wanted = PurePosixPath(task.submission.layouts[number].folder).name
        folder = PurePosixPath(member).parent.name
        if not folder and not contents.is_zip:
            folder = Path(contents.place).resolve().name
        if wanted and folder != wanted:
            raise Rejected(f"{member}: must lie in a folder named {wanted}")
