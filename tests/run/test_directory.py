"""The run directory: frozen settings, whole files, and what is said when something is amiss."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semeval_kit.errors import KitError
from semeval_kit.files import hold_lock, read_json, write_json, write_kept
from semeval_kit.probs import read_probs
from semeval_kit.run.directory import Run, spell_folds
from semeval_kit.run.layout import Frozen
from semeval_kit.task.task import read_task_source

RECIPE = {"encoder": "embedded", "folds": 3, "lr": 1e-05, "holdout": 0.0, "freeze": True}
SETTINGS: dict[str, Any] = {
    "task": "demo",
    "languages": ["eng"],
    "train_languages": ["eng"],
    "train_splits": ["train"],
    "data": "somewhere",
    "data_sha256": {"track_a/train/eng.csv": "ab" * 32},
    "seed": 0,
    "created": "2026-01-01",
    "versions": {"torch": "1"},
}


@pytest.fixture
def task_text() -> str:
    return read_task_source("demo")[1]


@pytest.fixture
def create(tmp_path: Path, task_text: str) -> Callable[..., Run]:
    """Make the run, or ask for it again with other recipe fields, settings or task text."""

    def make(recipe: dict[str, Any] | None = None, text: str = task_text, **settings: Any) -> Run:
        return Run.create(
            tmp_path / "run",
            Frozen(text, {**RECIPE, **(recipe or {})}, {**SETTINGS, **settings}),
        )

    return make


@pytest.fixture
def copied(trained_run: Path, tmp_path: Path) -> Run:
    """A copy of the finished tiny run, to be damaged."""
    return Run.open(shutil.copytree(trained_run, tmp_path / "tiny"))


def begin(run: Run) -> None:
    """Leave what a fold's first epoch leaves."""
    run.checkpoint_dir(0).mkdir(parents=True)


def test_what_is_frozen_is_read_again(create: Callable[..., Run]) -> None:
    create()
    run = Run.open(create().path)
    assert run.recipe == RECIPE
    assert run.settings == SETTINGS
    assert run.task.name == "demo"
    assert (run.name, run.n_folds, run.languages) == ("run", 3, ("eng",))
    assert sorted(path.name for path in run.path.iterdir()) == [
        "SHA256SUMS",
        "recipe.toml",
        "run.json",
        "task.toml",
    ]


def test_any_path_survives_the_recipe(create: Callable[..., Run]) -> None:
    name = '/a folder/"quoted"\\back\U0001f600\u00e9\n'
    assert Run.open(create({"encoder": name}).path).recipe["encoder"] == name


def test_the_moment_and_the_machine_may_differ(create: Callable[..., Run]) -> None:
    create()
    run = create(created="2027-01-01", versions={"torch": "2"}, machine={"cores": 9})
    assert run.settings["created"] == "2026-01-01"


@pytest.mark.parametrize(
    ("recipe", "settings", "told"),
    [
        ({"lr": 2e-5}, {}, "recipe.lr: the run has 1e-05, you ask for 2e-05"),
        ({"new": 1}, {}, "recipe.new: the run has None, you ask for 1"),
        ({}, {"seed": 3}, "seed: the run has 0, you ask for 3"),
        ({}, {"languages": ["deu"]}, "languages: the run has ['eng'], you ask for ['deu']"),
        (
            {},
            {"data_sha256": {"track_a/train/eng.csv": "cd" * 32}},
            "data_sha256.track_a/train/eng.csv: the run has 'abab",
        ),
    ],
)
def test_other_settings_are_refused_by_name(
    create: Callable[..., Run], recipe: dict[str, Any], settings: dict[str, Any], told: str
) -> None:
    begin(create())
    with pytest.raises(KitError) as error:
        create(recipe, **settings)
    lines = error.value.message.splitlines()
    assert lines[0].endswith("this run was made with other settings.")
    assert len(lines) == 3
    assert told in lines[1]
    assert "another --run name for a new run; or remove the folder" in lines[2]


def test_a_run_without_a_fold_is_made_anew(create: Callable[..., Run], task_text: str) -> None:
    create()
    log = create().fold_dir(1) / "worker.log"
    log.parent.mkdir()
    log.write_text("it failed before its first step", encoding="utf-8")
    run = create({"lr": 2e-5}, seed=3, created="2027-01-01")
    assert (run.recipe["lr"], run.settings["seed"]) == (2e-5, 3)
    assert run.settings["created"] == "2027-01-01"
    with hold_lock(run.fold_dir(1)), pytest.raises(KitError, match="made with other settings"):
        create({"lr": 3e-5})


def test_data_and_encoder_are_known_by_their_hashes(create: Callable[..., Run]) -> None:
    name, digest = next(iter(SETTINGS["data_sha256"].items()))
    encoder = {"config.json": "ef" * 32}
    made = {"encoder": "/here/bert"}
    begin(create(made, encoder_sha256=encoder))
    create({"encoder": "/there/bert"}, data="elsewhere", encoder_sha256=encoder)
    create(made, data_sha256={"other/layout/eng.csv": digest}, encoder_sha256=encoder)
    create(made, data_sha256={}, encoder_sha256=encoder)  # the run keeps the rows
    with pytest.raises(KitError, match=r"other/eng\.csv: the run has None, you ask for 'cd"):
        create(made, data_sha256={name: digest, "other/eng.csv": "cd"}, encoder_sha256=encoder)
    with pytest.raises(KitError, match=r"recipe\.encoder: the run has '/here/bert'"):
        create({"encoder": "/there/bert"}, encoder_sha256={"config.json": "ab"})


def test_another_task_file_of_the_same_name_is_refused(
    create: Callable[..., Run], task_text: str
) -> None:
    begin(create())
    assert '"anger", ' in task_text
    with pytest.raises(KitError, match=r"task\.labels"):
        create(text=task_text.replace('"anger", ', ""))
    create(text=task_text.replace("title = ", "title = 'New words. ' # "))


def test_a_folder_with_something_else_is_no_run(create: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(KitError, match="exists but is not a run"):
        create()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_run_that_was_killed_while_it_was_made_is_made(create: Callable[..., Run]) -> None:
    run = create()
    run.settings_file.unlink()
    run.rows_file.write_text("{", encoding="utf-8")
    (run.path / ".run.json.123.tmp").write_text("{", encoding="utf-8")
    create()
    assert sorted(path.name for path in run.path.iterdir()) == [
        "SHA256SUMS",
        "recipe.toml",
        "run.json",
        "task.toml",
    ]


def test_opening_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"no run here \(run\.json is missing\)"):
        Run.open(tmp_path)


def test_a_damaged_run_file_is_told(create: Callable[..., Run]) -> None:
    run = create()
    for damage, told in (("{", "damaged"), ("[1]", "damaged"), ("", "damaged"), ("{}", "lacks")):
        run.settings_file.write_text(damage, encoding="utf-8")
        with pytest.raises(KitError, match=r"run\.json: is not what was written .* from a copy"):
            _ = Run.open(run.path).settings
        write_kept(run.settings_file, run.settings_file.read_bytes())
        with pytest.raises(KitError, match=rf"run\.json: {told}"):
            _ = Run.open(run.path).settings


def test_folds_are_read_as_written(create: Callable[..., Run]) -> None:
    run = create()
    with pytest.raises(KitError, match="no folds yet"):
        run.read_folds()
    folds = spell_folds(["1", "1", 'a,"b'], ["eng", "deu", "eng"], [0, 2, -1])
    write_kept(run.folds_file, folds)
    assert run.read_folds() == {("eng", "1"): 0, ("deu", "1"): 2, ("eng", 'a,"b'): -1}


def test_a_holdout_has_one_model(create: Callable[..., Run]) -> None:
    assert create({"holdout": 0.2}).n_folds == 1


def test_out_of_fold_rows_are_in_the_order_of_the_folds_file(trained_run: Path) -> None:
    run = Run.open(trained_run)
    oof = run.read_oof()
    assert list(zip(oof.languages, oof.ids, strict=True)) == list(run.read_folds())
    first = read_probs(run.oof_file(0))
    row = oof.ids.index(first.ids[3])
    assert oof.values[row].tolist() == first.values[3].tolist()


def test_out_of_fold_rows_that_are_others_are_noticed(copied: Run) -> None:
    text = copied.oof_file(1).read_text(encoding="utf-8").rstrip("\n")
    other = "2" if text[-1] == "1" else "1"  # the last digit of the last probability
    copied.oof_file(1).write_text(f"{text[:-1]}{other}\n", encoding="utf-8")
    with pytest.raises(KitError, match=r"oof\.csv: is not what was written .* trains it again"):
        copied.read_oof()
    write_kept(copied.oof_file(1), copied.oof_file(1).read_bytes())
    with pytest.raises(KitError, match=r"oof\.csv: is not what the fold wrote"):
        copied.read_oof()


def test_rows_that_are_missing_or_double_are_noticed(copied: Run) -> None:
    for fold in (0, 1):
        done = read_json(copied.done_file(fold))
        done.pop("oof_sha256")
        write_json(copied.done_file(fold), done)
    copied.read_oof()
    whole = copied.oof_file(0).read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    for damaged in (lines[:-1], [*lines, lines[-1]]):
        write_kept(copied.oof_file(0), "".join(damaged))
        with pytest.raises(KitError, match=r"do not hold every row of folds\.csv once"):
            copied.read_oof()
    copied.done_file(0).unlink()
    with pytest.raises(KitError, match="fold 0 is not finished"):
        copied.read_oof()
