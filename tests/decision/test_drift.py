from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from semeval_kit.decision.estimate import measure_drift

LABELS = ("joy", "fear")


def column(share: float, n: int) -> np.ndarray:
    return (np.arange(n) < share * n).astype(int)


def test_prevalence_shift_is_reported() -> None:
    oof = np.stack([column(0.30, 1000), column(0.20, 1000)], axis=1)
    test = np.stack([column(0.42, 500), column(0.21, 500)], axis=1)
    joy, fear = measure_drift(oof, ["eng"] * 1000, test, ["eng"] * 500, LABELS)
    assert (joy.language, joy.label, joy.oof_rate, joy.test_rate) == ("eng", "joy", 0.30, 0.42)
    # Two-sample z: pooled share .34.
    assert joy.sigmas == pytest.approx(0.12 / np.sqrt(0.34 * 0.66 * 3 / 1000), rel=1e-12)
    assert joy.notable
    assert not fear.notable


def test_a_rare_label_that_halves_is_reported_too() -> None:
    oof, test = column(0.06, 2000)[:, None], column(0.03, 2000)[:, None]
    (drift,) = measure_drift(oof, ["eng"] * 2000, test, ["eng"] * 2000, ["joy"])
    assert drift.notable
    (drift,) = measure_drift(oof, ["eng"] * 2000, column(0.04, 2000)[:, None], ["eng"] * 2000, "j")
    assert not drift.notable


def test_a_large_drift_of_few_rows_is_not_notable() -> None:
    oof, test = column(0.3, 20)[:, None], column(0.5, 10)[:, None]
    (drift,) = measure_drift(oof, ["eng"] * 20, test, ["eng"] * 10, ["joy"])
    assert drift.test_rate - drift.oof_rate == pytest.approx(0.2)
    assert not drift.notable


def test_no_positives_anywhere() -> None:
    zeros = np.zeros((5, 1))
    (drift,) = measure_drift(zeros, ["eng"] * 5, zeros, ["eng"] * 5, ["joy"])
    assert asdict(drift) == {
        "language": "eng", "label": "joy", "oof_rate": 0.0, "test_rate": 0.0,
        "sigmas": 0.0, "notable": False,
    }  # fmt: skip


def test_a_language_without_training_rows_is_compared_with_all_and_lacking_labels_left_out() -> (
    None
):
    oof = np.array([[1, np.nan], [1, np.nan], [0, 1], [1, 1]])
    languages = ["eng", "eng", "afr", "afr"]
    test = np.array([[1, 1], [0, 0]])
    found = measure_drift(oof, languages, test, ["eng", "zul"], LABELS)
    assert [(d.language, d.label, d.oof_rate) for d in found] == [
        ("eng", "joy", 1.0),
        ("zul", "joy", 0.75),
        ("zul", "fear", 1.0),
    ]
