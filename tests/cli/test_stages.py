"""The stages as commands, one after the other, and what each says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main
from semeval_kit.files import hold_lock


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.usefixtures("in_process")
def test_the_stages_one_by_one(tiny_data: Path, tiny_bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    plan = ["--task", "semeval2025-task11-a", "--data", tiny_data, "--langs", "eng"]
    plan += ["--model", tiny_bert, "--run", "mine", "--submissions", tmp_path]
    plan += ["--folds", "2", "--epochs", "1", "--precision", "fp32"]
    plan += ["--seeds", "1", "--refold", "false"]

    result = call("prepare", *plan)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{path}\n"
    assert sorted(p.name for p in path.iterdir()) == [
        "SHA256SUMS",
        "folds.csv",
        "recipe.toml",
        "rows.json",
        "run.json",
        "task.toml",
    ]

    assert "fold 0 is not finished; run `semeval-kit train`" in call("probs", path).output
    assert "fold 0 is not finished" in call("tune", path).output
    with hold_lock(path):  # another process is at work on the run: a fold has a lock of its own
        result = call("train", path, "--fold", "1")
    assert result.stdout == "fold 0: not finished\nfold 1: done\n"
    assert call("train", path, "--fold", "2").exit_code == 1
    result = call("train", path)
    assert result.stdout == "fold 0: done\nfold 1: done\n"

    result = call("probs", path, "--split", "test")
    assert result.stdout == f"{path}/test/probs_eng.csv\n"
    assert not (path / "dev").exists()
    result = call("probs", path)
    assert result.stdout == f"{path}/dev/probs_eng.csv\n{path}/test/probs_eng.csv\n"

    result = call("pack", path)
    assert result.exit_code == 1
    assert "thresholds.json: no such file; the stage that writes it has not run" in result.output
    result = call("tune", path)
    assert result.exit_code == 0
    estimate = json.loads((path / "estimate.json").read_text(encoding="utf-8"))
    assert f"Out-of-fold macro-F1 on {estimate['n_examples']} rows" in result.stdout
    assert f"{estimate['cross_fitted']['score']:.4f}" in result.stdout

    result = call("pack", path, "--gold", tiny_data / "gold")
    assert result.exit_code == 0
    assert f"zip:     {path}/mine.zip" in result.stdout
    score = json.loads((path / "score.json").read_text(encoding="utf-8"))
    assert f"{score['languages'][0]['metrics']['macro_f1']:.4f}" in result.stdout


@pytest.mark.parametrize("stage", ["train", "probs", "tune", "pack"])
def test_a_folder_that_is_no_run_is_told(stage: str, tmp_path: Path) -> None:
    result = call(stage, tmp_path)
    assert result.exit_code == 1
    assert "no run here (run.json is missing)" in result.output
    assert call(stage, tmp_path / "none").exit_code == 2


def test_recipes_are_listed_and_explained() -> None:
    assert "default" in call("recipes").stdout.split()
    shown = call("recipes", "default").stdout
    assert "encoder = 'embedded'\n" in shown
    fields = call("recipes", "--fields").stdout
    assert "folds = 5  # number of cross-validation folds\n" in fields
    assert len(fields.splitlines()) == len(shown.splitlines())
    result = call("recipes", "none")
    assert result.exit_code == 1
    assert "not found" in result.output
