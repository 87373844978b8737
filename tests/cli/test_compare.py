"""The command `compare`."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from semeval_kit.cli import main

_spec = importlib.util.spec_from_file_location(
    "made_runs", Path(__file__).parents[1] / "show" / "conftest.py"
)
_made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    long_name = "semeval2025-task11-a_eng_deberta-v3-large_default-with-a-long-name"
    return [
        str(_made.lay_run(folder, name=name, quality=quality).path)
        for name, quality in ((long_name, 1.4), ("weak", 0.5))
    ]


def call(*args: str):
    return CliRunner().invoke(main, ["compare", *args])


def test_the_table_fits_100_columns_and_results_go_to_stdout(runs):
    result = call(*runs, "--split", "dev")
    assert result.exit_code == 0, result.output
    assert max(len(line) for line in result.stdout.splitlines()) <= 100
    assert "macro-F1, dev" in result.stdout
    assert "95% interval" in result.stdout
    assert "reading weak" in result.stderr
    assert "reading weak" not in result.stdout


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal(runs, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = call(*runs, "--split", "dev").stdout.splitlines()
    assert max(map(len, lines)) <= width
    plain = " ".join("\n".join(lines).split())
    for word in ("macro-F1", "95% interval", "micro-F1", "subset acc.", "surprise", "val loss"):
        assert word in plain
    assert ("(continued)" in plain) == (width < 97)
    assert "…" not in plain.partition("Full names")[0]


def test_files_and_json(runs, tmp_path):
    paths = {kind: tmp_path / "out" / f"t.{kind}" for kind in ("csv", "markdown", "latex")}
    flags = [part for kind, path in paths.items() for part in (f"--{kind}", str(path))]
    result = call(*runs, "--split", "dev", "--json", *flags)
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert [run["run"] for run in shown["runs"]][1] == "weak"
    assert shown["runs"][1]["difference"] == pytest.approx(
        shown["runs"][1]["score"] - shown["runs"][0]["score"]
    )
    assert shown["runs"][1]["p_value"] < 0.05
    assert paths["csv"].read_text(encoding="utf-8").count("\n") == 3
    assert "| weak |" in paths["markdown"].read_text(encoding="utf-8")
    assert r"\toprule" in paths["latex"].read_text(encoding="utf-8")


def test_what_is_no_run_or_not_finished_is_left_out_with_a_note(runs, tmp_path):
    readme, unfinished = tmp_path / "README.md", tmp_path / "half"
    readme.write_text("where runs are kept", encoding="utf-8")
    shutil.copytree(runs[1], unfinished)
    (unfinished / "fold-1" / "done.json").unlink()
    result = call(str(readme), *runs, str(unfinished))
    assert result.exit_code == 0, result.output
    assert f"left out: {readme} is no run" in result.stderr
    plain = " ".join(result.stdout.split())
    assert "Left out: " in plain
    assert "fold 1 is not finished; run `semeval-kit train`" in plain
    assert "Full names of the runs" not in plain
    alone = call(str(unfinished))
    assert alone.exit_code == 1
    assert "nothing to compare" in alone.stderr


def test_a_folder_that_is_no_run_is_an_error_with_a_remedy(tmp_path):
    result = call(str(tmp_path))
    assert result.exit_code == 1
    assert "no run here" in result.stderr


def test_help_shows_an_example():
    result = call("--help")
    assert result.exit_code == 0
    assert "Example:  semeval-kit compare submissions/*" in result.stdout
