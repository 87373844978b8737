from __future__ import annotations

import subprocess
import sys

import numpy as np

from semeval_kit.decision.rules import IntensityRule


def test_the_room_needs_no_heavy_library() -> None:
    code = (
        "import sys, semeval_kit.decision.estimate, semeval_kit.decision.drift;"
        "heavy = {'torch', 'transformers', 'sklearn', 'pandas', 'scipy', 'pydantic'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_rows_gather_the_cuts_of_each_language() -> None:
    rule = IntensityRule(
        method="expected_value",
        label_names=("joy",),
        n_levels=2,
        cuts={"eng": np.array([[0.5, 1.5]]), "deu": np.array([[np.nan, np.nan]])},
        joint=np.array([[0.4, 1.1]]),
    )
    found = rule.rows(["zul", "eng", "deu", "eng"])
    assert found.shape == (4, 1, 2)
    np.testing.assert_array_equal(
        found[:, 0], [[0.4, 1.1], [0.5, 1.5], [np.nan, np.nan], [0.5, 1.5]]
    )
    assert rule.rows([]).shape == (0, 1, 2)
