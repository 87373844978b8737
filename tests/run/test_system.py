"""A system: every member that a recipe lists is trained once, then blended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from semeval_kit.cli import main
from semeval_kit.errors import KitError
from semeval_kit.run.blending import read_blend
from semeval_kit.run.directory import Run
from semeval_kit.training.recipe import load_members, load_recipe

RECIPE = """
[[members]]
name = "words"
model = "tfidf"
recipe = "RECIPE"

[[members]]
name = "frozen"
model = "frozen:*"
recipe = "RECIPE"
weight = 0.25
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "two.toml").write_text("folds = 2\n", encoding="utf-8")
    text = RECIPE.replace("RECIPE", str(tmp_path / "two.toml"))
    (tmp_path / "team.toml").write_text(text, encoding="utf-8")
    return tmp_path / "team.toml"


@pytest.mark.parametrize("command", ["system", "run"])
def test_a_recipe_of_members_gives_one_zip(
    command: str,
    recipe: Path,
    tiny_data: Path,
    tiny_bert: Path,
    tmp_path: Path,
    in_process: list[Any],
) -> None:
    named = [str(recipe)] if command == "system" else ["--recipe", str(recipe)]
    task = ["--task", "semeval2025-task11-a", "--data", str(tiny_data), "--langs", "eng"]
    rest = ["--model", str(tiny_bert), "--submissions", str(tmp_path / "s"), "--run", "team"]
    result = CliRunner().invoke(main, [command, *named, *task, *rest])
    assert result.exit_code == 0, result.output
    run = Run.open(tmp_path / "s" / "team")
    weights, members = read_blend(run)
    assert tuple(members) == ("team_words", "team_frozen")
    assert members["team_frozen"].recipe["encoder"] == f"frozen:{tiny_bert}"
    np.testing.assert_allclose(weights.of("eng")[0], [0.75, 0.25])
    assert run.zip_file.is_file()
    assert "uniform mean" in result.output


def test_a_recipe_of_members_is_read_strictly(tmp_path: Path) -> None:
    assert [member.name for member in load_members("strong")] == [
        "encoder", "embedded", "frozen", "words",
    ]  # fmt: skip
    assert load_members("default") == ()
    with pytest.raises(KitError, match="lists the members of a system"):
        load_recipe("strong")
    path = tmp_path / "wrong.toml"
    for text, told in (
        ('[[members]]\nname = "a"\n', "needs two members"),
        ('[[members]]\nname = "a"\n[[members]]\nname = "a"\n', "each with a name"),
        ('[[members]]\nname = "a"\nfolds = 3\n', "a member cannot be used"),
        ('epochs = 3\n[[members]]\nname = "a"\n', "epochs must stand in them"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(KitError, match=told):
            load_members(str(path))
