"""The commands `data fetch`, `data check` and `data stats`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main
from semeval_kit.cli.data import split_languages
from semeval_kit.cli.options import align_rows

HEADER = "id,text,anger,fear,joy\n"
TASK = """
name = "made-up"
title = "A task for tests"
kind = "multilabel"
train_languages = ["eng"]
predict_languages = ["eng"]
labels = { default = ["anger", "fear", "joy"] }
data.files = { train = ["train/{lang}.csv"], dev = ["dev/{lang}.csv"], test = ["test/{lang}.csv"] }
submission.member = "pred_{lang}.csv"
scoring = { metrics = ["macro_f1"], languages = ["eng"] }
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a task file and its data, in which the command is run."""
    monkeypatch.chdir(tmp_path)
    Path("task.toml").write_text(TASK)
    for name, rows in (
        ("train", "t1,late again,1,0,0\nt2,so glad,0,1,1\nt3,a table,0,0,0\n"),
        ("dev", "d1,hm,1,1,1\n"),
        ("test", "e1,So  glad,,,\n"),
    ):
        Path("data", name).mkdir(parents=True)
        Path("data", name, "eng.csv").write_text(HEADER + rows)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["data", *words])


@pytest.mark.usefixtures("place")
class TestCheck:
    def test_prints_a_table_and_what_was_found(self) -> None:
        Path("data/train/old_test.csv").write_text("")
        result = run("check", "task.toml")
        assert result.exit_code == 0, result.output
        lines = [line.split("  ") for line in result.output.splitlines()]
        cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
        assert cells[0] == ["made-up: positives in the order anger / fear / joy"]
        assert cells[1] == [
            "split", "language", "rows", "labels", "positives", "notes", "warnings", "errors",
        ]  # fmt: skip
        assert cells[2] == ["train", "eng", "3", "3", "1 / 1 / 1", "3"]
        assert cells[4] == ["test", "eng", "1", "blank", "1"]
        assert "  data/train/old_test.csv: a test file among train files; not read" in result.output
        assert "eng: 1 of 1 text of made-up test is also in made-up train" in result.output
        assert "t2" not in result.output.split("first: ")[0]
        assert result.output.endswith("3 files, 5 rows: 0 errors, 5 warnings\n")

    def test_verbose_names_every_pair(self) -> None:
        assert "\n    e1 = t2\n" in run("check", "task.toml", "--verbose").output

    def test_an_error_ends_with_1_and_the_place(self) -> None:
        Path("data/train/eng.csv").write_text(HEADER + "t1,late,1,0,7\nt2,glad,0,0,9\n")
        result = run("check", "task.toml")
        assert result.exit_code == 1
        assert (
            "Errors:\n"
            "  data/train/eng.csv, line 2: label 'joy' is '7'; expected 0 or 1. Correct the cell.\n"
            "  data/train/eng.csv, line 3: label 'joy' is '9'; expected 0 or 1. Correct the cell.\n"
        ) in result.output
        assert "dev    eng" in result.output

    def test_json_holds_everything(self) -> None:
        report = json.loads(run("check", "task.toml", "--json").output)
        assert report["files"][0]["positives"] == {"anger": 1, "fear": 1, "joy": 1}
        assert report["overlaps"][0]["pairs"] == [["t2", "e1"]]

    def test_an_unknown_folder_is_one_sentence(self) -> None:
        result = run("check", "task.toml", "--data", "nowhere")
        assert result.exit_code == 1
        assert result.output == (
            "Error: nowhere: no such folder. Give the folder with the organisers' files (--data).\n"
        )


@pytest.mark.usefixtures("place")
class TestStats:
    def test_prints_labels_lengths_and_overlap(self) -> None:
        result = run("stats", "task.toml")
        assert result.exit_code == 0, result.output
        assert "eng       train     3        1        1.00  2 (2 to 2)  7 (7 to 10)" in (
            result.output
        )
        assert "anger      1     0    0  33.3%" in result.output
        assert "fear       0     1    1  33.3%" in result.output
        assert "  eng: train and test: 1\n" in result.output

    def test_json_holds_the_same(self) -> None:
        shown = json.loads(run("stats", "task.toml", "--json").output)
        assert [(entry["split"], entry["n_rows"]) for entry in shown["splits"]] == [
            ("train", 3),
            ("dev", 1),
            ("test", 1),
        ]
        assert shown["overlaps"]["eng: train and test"] == 1

    def test_plot_draws_a_file(self) -> None:
        result = run("stats", "task.toml", "--plot", "figures/stats.svg")
        assert result.exit_code == 0, result.output
        assert "A task for tests" in Path("figures/stats.svg").read_text()

    def test_an_empty_folder_names_the_remedy(self) -> None:
        Path("empty").mkdir()
        result = run("stats", "task.toml", "--data", "empty")
        assert result.exit_code == 1
        assert "bring the files with: semeval-kit data fetch made-up" in result.output


@pytest.mark.usefixtures("place")
class TestFetch:
    def test_copies_and_then_keeps(self) -> None:
        first = run("fetch", "task.toml", "--from", "data", "--to", "copy")
        assert first.exit_code == 0, first.output
        assert "anger 1 fear 1 joy 1" in first.output
        assert first.output.count("  new\n") == 3
        assert run("fetch", "task.toml", "--from", "data", "--to", "copy").output.count("kept") == 3
        assert Path("copy/train/eng.csv").read_bytes() == Path("data/train/eng.csv").read_bytes()
        assert len(json.loads(Path("copy/manifest.json").read_text())["files"]) == 3

    def test_without_a_hub_the_remedy_is_named(self) -> None:
        result = run("fetch", "task.toml", "--to", "copy")
        assert result.exit_code == 1
        assert "semeval-kit data fetch made-up --from FOLDER" in result.output
        assert not Path("copy").exists()

    def test_json_lists_the_files(self) -> None:
        result = run("fetch", "task.toml", "--from", "data", "--to", "copy", "--json")
        assert [entry["rows"] for entry in json.loads(result.output)] == [3, 1, 1]


def test_languages_may_be_joined_by_commas_or_blanks() -> None:
    assert split_languages("eng, deu eng") == ("eng", "deu")
    assert split_languages("all") is None


def test_rows_are_aligned() -> None:
    assert align_rows([("a", "1"), ("bcd", "22")], right=[1]) == ["a     1", "bcd  22"]


@pytest.mark.parametrize("command", [[], ["fetch"], ["check"], ["stats"]])
def test_help_has_an_example_and_loads_nothing_heavy(command: list[str]) -> None:
    result = run(*command, "--help")
    assert "Example:\n    semeval-kit data" in result.output
    code = (
        "import sys\n"
        "from semeval_kit.cli import main\n"
        f"main(['data', *{command!r}, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'pandas', 'datasets', 'matplotlib', 'numpy', 'transformers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
