from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import semeval_kit
from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.show.opened import OpenRun
from semeval_kit.show.results import read_results


@pytest.fixture(scope="module")
def opened(made_run: Run) -> OpenRun:
    return semeval_kit.open_run(made_run.path)


def test_the_score_is_the_estimate_s(opened: OpenRun, made_run: Run):
    estimate = json.loads(made_run.estimate_file.read_text())
    assert opened.score == estimate.get("expected", estimate["cross_fitted"])["score"]


def test_frames_hold_the_numbers_of_the_tables(opened: OpenRun, made_run: Run):
    labels = opened.labels()
    expected = read_results(made_run).split_score("oof")
    assert labels["score"].to_dict() == {label.label: label.score for label in expected.labels}
    assert list(labels.columns[:4]) == ["positives", "score", "low", "high"]
    assert not labels.equals(opened.labels("dev"))
    stored = json.loads(made_run.thresholds_file.read_text())
    assert opened.thresholds()["eng"].tolist() == stored["values"]["eng"]
    history = opened.history()
    assert sorted(set(history["fold"])) == [0, 1, 2]
    assert history[history["fold"] == 1]["val_loss"].tolist() == [
        row["val_loss"] for row in made_run.read_history(1)
    ]


def test_answers_are_rows_with_gold_probabilities_and_answers(opened: OpenRun, made_run: Run):
    rows = opened.answers()
    oof = made_run.read_oof()
    assert rows["id"].tolist() == list(oof.ids)
    np.testing.assert_array_equal(rows["p:joy"], oof.values[:, oof.target_names.index("joy")])
    score = opened.labels().loc["joy", "score"]
    hits = ((rows["joy"] == 1) & (rows["tuned:joy"] == 1)).sum()
    assert 2 * hits / (rows["joy"].sum() + rows["tuned:joy"].sum()) == pytest.approx(score)


def test_a_notebook_shows_run_tables_and_pictures(opened: OpenRun):
    shown = opened._repr_html_()
    assert f"<b>{opened.score:.4f}</b>" in shown
    assert "<script" not in shown
    tables = opened.tables()
    assert "labels-oof" in tables
    assert tables["labels-oof"]._repr_html_().count("<tr") == 6
    pictures = opened.figures()
    assert list(pictures)[0] == "label-distribution"
    assert 'src="data:image/svg+xml;base64,' in pictures["training"]._repr_html_()


def test_errors_say_what_to_do(opened: OpenRun, tmp_path):
    with pytest.raises(KitError, match="split 'eval' is unknown. Choose one of oof, dev, test"):
        opened.labels("eval")
    with pytest.raises(KitError, match="no run here"):
        semeval_kit.open_run(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = semeval_kit.nothing


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, semeval_kit\n"
        "print({'torch', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules))\n"
        "for name in semeval_kit.__all__: getattr(semeval_kit, name)\n"
        "print({'torch', 'matplotlib', 'transformers'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nset()\n"
