"""The rules of 2026: what the Codabench scoring programs of SemEval-2025 Task 11 accept.

Read in the three `scoring.py` of Vitaly-Protasov/SemEval2025-Task11-competitions @32f561b and
written anew; messages are theirs, since people will search for them. Any failure in one file
rejects the whole submission with scores of zero, while Codabench shows it as Finished.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.reference import Reference
from semeval_kit.submission.archive import is_macos_remains

Rows = list[dict[str | None, str | list[str] | None]]
INPUT = "/in"
"""The input folder that messages name, as in the recorded runs of the official programs."""


class Rejected(Exception):
    """The official program rejects the submission, with this message."""


def find_predictions(names: Iterable[str]) -> dict[str, str]:
    """Language -> path of its prediction file: any depth, and the last path wins.

    Folders count as well: one that is named like a prediction file makes the program fail.

    Raises:
        Rejected: there is none.
    """
    paths = sorted(PurePosixPath(name) for name in names)
    found = {
        path.name.removesuffix(".csv").replace("pred_", "", 1): str(path)
        for path in paths
        if path.name.startswith("pred_")
        and path.name.endswith(".csv")
        and not is_macos_remains(str(path))
    }
    if not found:
        raise Rejected(f"No prediction files named pred_<lang>.csv found under {INPUT}.")
    return found


def read_predictions(
    data: bytes, name: str, reference: Reference, max_value: int
) -> NDArray[np.int64]:
    """Predictions (n_examples, n_labels) in the reference's order of rows and labels.

    Raises:
        Rejected: in the order in which the official program looks.
    """
    try:
        return _read_predictions(data, name, reference, max_value)
    except StopIteration:
        raise Rejected("StopIteration") from None
    except UnicodeDecodeError as error:
        raise Rejected(str(error)) from None
    except KeyError as error:
        raise Rejected(f"KeyError: {error}") from None
    except csv.Error as error:
        raise Rejected(f"_csv.Error: {error}") from None


def _read_predictions(
    data: bytes, name: str, reference: Reference, max_value: int
) -> NDArray[np.int64]:
    expected = ["id", *reference.labels]
    header = next(csv.reader(_open(data)))
    if [cell.strip().lower() for cell in header] != [cell.strip().lower() for cell in expected]:
        raise Rejected(f"{name}: invalid header {header}. Expected {expected}.")
    rows: Rows = list(csv.DictReader(_open(data)))
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


def _index_rows(name: str, rows: Rows) -> dict[str, dict[str | None, str | list[str] | None]]:
    by_id: dict[str, dict[str | None, str | list[str] | None]] = {}
    for row in rows:
        row_id = str(row.get("id", "")).strip()
        if not row_id:
            raise Rejected(f"{name}: empty id detected.")
        if row_id in by_id:
            raise Rejected(f"{name}: duplicate id {row_id}.")
        by_id[row_id] = row
    return by_id


def _describe_count(name: str, rows: Rows, reference: Reference) -> str:
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
