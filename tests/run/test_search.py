"""A search: paired trials, a winner confirmed on other folds, killed and shared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna", reason="optuna is not installed")

from semeval_kit.files import read_json
from semeval_kit.run.blending import BlendPlan, blend_runs
from semeval_kit.run.confirm import measure_fold
from semeval_kit.run.directory import Run
from semeval_kit.run.plan import Engine, Plan, SearchPlan
from semeval_kit.run.search import search
from semeval_kit.training.space import load_space

ENGINE = Engine(threads=1)
SPACE = "lr = { low = 1e-4, high = 1e-2, log = true }\nepochs = [1, 2]\npooling = ['mean', 'cls']\n"


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(SPACE, encoding="utf-8")
    return path


@pytest.fixture
def asked(make_plan: Callable[..., Plan], space_file: Path) -> SearchPlan:
    """A search of three trials in English on two folds."""
    plan = make_plan(("eng",), epochs=1)
    return SearchPlan(plan, load_space(str(space_file), plan.config), n_trials=3)


def keep_quiet(_: str) -> None:
    """Say nothing."""


def test_a_search_ends_in_a_winner_on_other_folds(
    asked: SearchPlan, tmp_path: Path, in_process: list[Any]
) -> None:
    said: list[str] = []
    path = tmp_path / "search"
    results = search(path, asked, ENGINE, said.append)
    assert [trial["name"] for trial in results["trials"]] == ["trial-000", "trial-001", "trial-002"]
    assert {trial["state"] for trial in results["trials"]} == {"done"}
    assert (results["folds_trained"], results["n_folds"], results["ranked_from"]) == (6, 2, 3)
    assert set(results["importances"]) == {"lr", "epochs", "pooling"}
    assert sum(results["importances"].values()) == pytest.approx(1.0)
    start = results["trials"][0]
    assert start["params"] == {"lr": 5e-3, "epochs": 1, "pooling": "mean"}
    assert start["against_start"] == 0.0

    # Folds and seeds are the same for all trials, and others where the winner is confirmed.
    runs = [Run.open(path / trial["name"]) for trial in results["trials"]]
    assert runs[0].read_folds() == runs[1].read_folds() == runs[2].read_folds()
    assert {run.recipe["seed"] for run in runs} == {0}
    confirmed = Run.open(path / "confirm" / "start")
    assert confirmed.recipe["seed"] == 1
    assert confirmed.read_folds() != runs[0].read_folds()
    assert list(confirmed.read_folds()) == list(runs[0].read_folds())

    # Every trial is a finished run; the objective is its cross-fitted score.
    for run, trial in zip(runs, results["trials"], strict=True):
        estimate = read_json(run.estimate_file)
        assert trial["value"] == estimate["cross_fitted"]["score"]
        assert run.zip_file.is_file()
        assert not run.model_dir(0).exists()
        assert run.recipe["select_by"] == "last"
        assert trial["map"] == pytest.approx(
            np.nanmean([measure_fold(run, fold) for fold in range(2)])
        )
    best = max(results["trials"], key=lambda trial: trial["value"])
    assert results["winner"] == best["name"]
    facts = results["confirmed"]
    estimate = read_json(confirmed.estimate_file)
    assert facts["winner"] == best["name"]
    assert facts["start"]["score"] == pytest.approx(estimate["cross_fitted"]["score"])
    if facts["difference"]:
        own = read_json(path / "confirm" / best["name"] / "estimate.json")["cross_fitted"]["score"]
        assert facts["figures"]["score"] == pytest.approx(own)
        assert facts["difference"]["difference"] == pytest.approx(own - facts["start"]["score"])
        assert facts["difference"]["low"] <= facts["difference"]["high"]
    assert read_json(path / "results.json") == json.loads(json.dumps(results))

    # Members of a blend.
    blend = blend_runs(tmp_path / "blend", runs, BlendPlan(), None, keep_quiet)
    assert blend.zip_file.is_file()

    # The same call finds nothing to do and says the same.
    before = len(in_process)
    assert search(path, asked, ENGINE, keep_quiet) == results
    assert len(in_process) == before
