"""Recipes: all of them load, what is unknown or out of range is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from semeval_kit.errors import KitError
from semeval_kit.training.recipe import (
    Comparison,
    Recipe,
    list_recipes,
    load_comparison,
    load_members,
    load_recipe,
    make_recipe,
    peak_lr,
)


def test_there_are_a_default_and_a_demo() -> None:
    assert {"default", "demo"} <= set(list_recipes())


@pytest.mark.parametrize("name", [n for n in list_recipes() if not load_members(n)])
def test_every_recipe_loads(name: str) -> None:
    assert load_recipe(name).epochs >= 0


def test_every_field_says_what_it_is() -> None:
    for name, field in Recipe.model_fields.items():
        assert field.description, name


def test_flags_lie_over_the_recipe_and_the_recipe_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("epochs = 7\nlr = 3e-5\n", encoding="utf-8")
    config = load_recipe(str(path), {"epochs": 9})
    assert (config.epochs, config.lr, config.head_lr) == (9, 3e-5, Recipe().head_lr)


def test_a_recipe_may_say_what_it_compares(tmp_path: Path) -> None:
    assert load_comparison("bert-report").encoders == (
        "distilbert-base-cased",
        "distilbert-base-uncased",
        "bert-base-cased",
        "bert-base-uncased",
        "bert-large-cased",
        "bert-large-uncased",
    )
    assert load_comparison("distilbert-tutorial").before
    assert load_comparison("default") == Comparison((), before=False)
    path = tmp_path / "own.toml"
    for wrong in ('sweep = "bert-base-cased"', "sweep = [1]", 'sweep = [""]', "before = 1"):
        path.write_text(f"{wrong}\n", encoding="utf-8")
        with pytest.raises(KitError, match=r"(sweep|before): expected .*; got"):
            load_comparison(str(path))


def test_an_unknown_field_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("learning_rate = 1\nepochs = -3\n", encoding="utf-8")
    with pytest.raises(KitError) as error:
        load_recipe(str(path))
    text = error.value.message
    assert "learning_rate" in text
    assert "known: encoder, revision, pooling" in text
    assert "epochs: Input should be greater than or equal to 0; got -3" in text


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"folds": 1}, "folds"),
        ({"holdout": 1.0}, "holdout"),
        ({"pooling": "max"}, "pooling"),
        ({"precision": "fp8"}, "precision"),
        ({"head_dropout": 1.0}, "head_dropout"),
        ({"select_by": "auc"}, "select_by"),
        ({"patience": 2, "stop_by": "last"}, "stop_by"),
        ({"lr": 2e5}, r"lr: Input should be less than or equal to 1; got 200000\.0"),
        ({"lr": float("inf")}, "lr: Input should be a finite number; got inf"),
        ({"head_lr": float("nan")}, "head_lr: Input should be a finite number; got nan"),
        ({"weight_decay": float("inf")}, "weight_decay"),
        ({"lr": -1e-3}, "lr"),
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, object], named: str) -> None:
    with pytest.raises(KitError, match=named):
        make_recipe(fields, "a test")


def test_a_recipe_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="Known: .*default, demo"):
        load_recipe("mine")
    with pytest.raises(KitError, match="not found"):
        load_recipe(str(tmp_path / "mine.toml"))


def test_a_recipe_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("epochs: 3", encoding="utf-8")
    with pytest.raises(KitError, match="not TOML"):
        load_recipe(str(path))


def test_the_learning_rate_goes_by_the_width_unless_it_is_set() -> None:
    config = make_recipe({}, "a test")
    assert config.lr is None
    assert peak_lr(config, 768) == pytest.approx(4e-5)
    assert peak_lr(config, 384) == pytest.approx(1.2e-4, rel=1e-3)
    assert peak_lr(config, 1024) == pytest.approx(2.535e-5, rel=1e-3)
    assert peak_lr(make_recipe({"lr": 3e-5}, "a test"), 384) == 3e-5


def test_what_older_runs_wrote_for_not_set_is_not_set() -> None:
    """They had 0 for a learning rate by the width, and -1 for an encoder's own dropout."""
    old = {"lr": 0.0, "hidden_dropout": -1.0, "attention_dropout": -1.0, "epochs": 3}
    recipe = make_recipe(old, "an old run")
    assert (recipe.lr, recipe.hidden_dropout, recipe.attention_dropout) == (None, None, None)
    assert recipe.frozen() == make_recipe({"epochs": 3}, "a new run").frozen()
    assert not {"lr", "hidden_dropout", "attention_dropout"} & set(recipe.frozen())


def test_a_run_keeps_what_is_set() -> None:
    frozen = make_recipe({"lr": 3e-5}, "a test").frozen()
    assert frozen["lr"] == 3e-5
    assert not {"hidden_dropout", "checkpoint_minutes"} & set(frozen)
    assert make_recipe({"checkpoint_minutes": 1}, "a test").frozen()["checkpoint_minutes"] == 1
    assert make_recipe(frozen, "again").frozen() == frozen
