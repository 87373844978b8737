"""`semeval-kit search`: from options to the sentence with the confirmed figure, and the page."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main

pytestmark = pytest.mark.trains

pytest.importorskip("optuna", reason="optuna is not installed")

Call = Callable[..., Result]


@pytest.fixture
def call(tiny_data: Path, tiny_bert: Path, tmp_path: Path) -> Call:
    """Call `search` on the tiny data and encoder, two folds and one epoch."""
    space = tmp_path / "space.toml"
    space.write_text("lr = {low = 1e-4, high = 1e-2, log = true}\n", encoding="utf-8")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"encoder = '{tiny_bert}'\nfolds = 2\nepochs = 1\nlr = 5e-3\n")

    def give(*words: str, recipe: str = str(recipe)) -> Result:
        given = ["--task", "semeval2025-task11-a", "--data", str(tiny_data), "--langs", "eng"]
        given += ["--precision", "fp32", "--submissions", str(tmp_path / "s"), "--run", "look"]
        given += ["--space", str(space), "--trials", "2", "--threads", "1"]
        return CliRunner().invoke(main, ["search", *([recipe] if recipe else []), *given, *words])

    return give


@pytest.mark.usefixtures("in_process")
def test_the_end_says_the_confirmed_figure_and_where_the_page_is(
    call: Call, tmp_path: Path
) -> None:
    result = call()
    assert result.exit_code == 0, result.output
    folder = tmp_path / "s" / "look"
    out, page = result.stdout, (folder / "search.html").read_text(encoding="utf-8")
    assert "on a new partition of the rows (seed 1)" in out
    assert "2 of 2 trials (2 done): 4 folds trained of 4 possible" in out
    assert "What mattered most: lr (100% of the differences); from 2 trials that is a guess." in out
    assert f"page:    {folder / 'search.html'}" in out
    assert "trial-000: lr 0.005 (the recipe itself)" in result.stderr
    assert "every trial keeps its last epoch" in result.stderr
    # The page holds the same sentences, the tables and three pictures, and loads nothing.
    first = out.splitlines()[0]
    assert first in page
    assert page.count('<img src="data:image/svg+xml;base64,') == 3
    assert "<script" not in page
    assert "trial-001" in page
    assert (
        (folder / "search.csv").read_text(encoding="utf-8").startswith("trial,cross-fitted macro")
    )


def test_engines_are_given_the_command_itself(call: Call, tmp_path: Path) -> None:
    flags = ("--freeze-embeddings", "no", "--keep-models")
    result = call(*flags, "--engine", "commands", "--max-jobs", "3", "--objective", "map")
    assert result.exit_code == 0, result.output
    comment, line = result.stdout.splitlines()
    words = shlex.split(line)
    assert words[:2] == ["semeval-kit", "search"]
    assert words[2] == str(tmp_path / "recipe.toml")
    words.remove("--keep-models")
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given["--freeze-embeddings"] == "False"
    assert given["--objective"] == "map"
    assert given["--run"] == "look"
    assert not {"--engine", "--max-jobs"} & set(given)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--recipe", "default"), "name the recipe once"),
        (("--trials", "1"), "1 is not in the range x>=2"),
        (("--hours", "0"), "0.0 is not in the range x>0"),
        (("--holdout", "0.2"), "a search compares folds: give a recipe without a hold-out"),
        (("--refold", "yes"), "a search compares folds: give a recipe without refold"),
        (("--model", "tfidf"), "encoder 'tfidf': is not trained by a recipe"),
        (("--lr", "0.5"), "line 1: the recipe's own lr, 0.5, is not among 0.0001 to 0.01 (log)"),
        (("--storage", "sqlite:////no/such/folder/x.db"), "cannot be read or written"),
    ],
)
def test_what_cannot_be_searched_is_told(words: tuple[str, ...], told: str, call: Call) -> None:
    result = call(*words)
    assert result.exit_code in (1, 2), result.output
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_of_something_else_is_left_alone(call: Call, tmp_path: Path) -> None:
    other: Any = tmp_path / "s" / "look"
    other.mkdir(parents=True)
    (other / "mine.txt").write_text("mine")
    result = call()
    assert result.exit_code == 1
    assert "exists but is no search. Choose another --run name." in result.stderr
    assert [path.name for path in other.iterdir()] == ["mine.txt"]
