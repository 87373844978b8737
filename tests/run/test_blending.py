"""Blends of finished runs: honest, refused with the reason where they cannot be, the same bytes."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from semeval_kit.cli import main
from semeval_kit.cli.options import find_system
from semeval_kit.errors import KitError
from semeval_kit.files import read_json, write_json
from semeval_kit.probs import read_probs, write_probs
from semeval_kit.run import stages
from semeval_kit.run.blending import BlendPlan, SystemPlan, blend_runs, build_system, read_blend
from semeval_kit.run.directory import Run
from semeval_kit.run.members import load_voices
from semeval_kit.run.stages import Engine
from semeval_kit.training.recipe import load_members, load_recipe

ENGINE = Engine(jobs=1, threads=1)
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
fields = { max_length = 24 }
"""


def quiet(_: str) -> None:
    """Say nothing."""


@pytest.fixture
def linear(
    make_plan: Callable[..., Any], tiny_data: Path, tmp_path: Path, in_process: list[Any]
) -> Callable[..., Run]:
    """A finished linear run in both languages; keywords as for `make_plan`."""

    def make(name: str, **given: Any) -> Run:
        plan = make_plan(**{"encoder": "tfidf", **given})
        return stages.run_all(tmp_path / name, plan, ENGINE, None, quiet)

    return make


@pytest.fixture
def pair(linear: Callable[..., Run], trained_run: Path) -> list[Run]:
    """An encoder's run and a linear one on the same folds."""
    return [Run.open(trained_run), linear("words")]


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("run.json", "SHA256SUMS") and p.suffix != ".zip"
    }


def blend(path: Path, runs: list[Run], **plan: Any) -> Run:
    return blend_runs(path, runs, BlendPlan(**plan), None, quiet)


def test_a_blend_is_a_run_of_its_members(pair: list[Run], tmp_path: Path) -> None:
    run = blend(tmp_path / "both", pair)
    weights, members = read_blend(run)
    assert (run.member, run.languages, run.n_folds) == ("blend", ("eng", "deu"), 2)
    assert weights.names == tuple(members) == ("tiny", "words")
    assert [member.path.resolve() for member in members.values()] == [
        one.path.resolve() for one in pair
    ]
    for language in run.languages:
        mixed = run.read_probs("test", language)
        parts = [one.read_probs("test", language) for one in pair]
        table = weights.of(language)
        np.testing.assert_allclose(table.sum(axis=1), 1.0)
        expected = sum(table[:, n] * part.values for n, part in enumerate(parts))
        np.testing.assert_allclose(mixed.values, expected, atol=1e-15)
        assert mixed.ids == parts[0].ids
    assert run.zip_file.is_file()
    assert read_json(run.estimate_file)["n_examples"] == 64
    names = [system["name"] for system in read_json(run.path / "blend.json")["systems"]]
    assert names == ["blend", "uniform mean", "tiny", "words"]


def test_what_a_fold_said_and_is_gone_is_missed(pair: list[Run], tmp_path: Path) -> None:
    run = blend(tmp_path / "both", pair)
    for split in ("dev", "test"):
        gone = run.fold_probs_file(0, split)
        content = gone.read_bytes()
        gone.unlink()
        with pytest.raises(KitError, match=f"probs_{split}.csv"):
            stages.tune(run, quiet)
        gone.write_bytes(content)
    gone = pair[1].fold_probs_file(1, "test")
    gone.unlink()
    with pytest.raises(KitError, match=r"probs_test\.csv"):
        blend(tmp_path / "again", pair)


def test_rows_have_no_say_in_the_weights_that_blend_them(pair: list[Run], tmp_path: Path) -> None:
    run = blend(tmp_path / "both", pair)
    before = read_probs(run.oof_file(0)).values
    # Other labels in fold 0 must change nothing of fold 0.
    rows = json.loads(pair[0].rows_file.read_text(encoding="utf-8"))
    fold_of = run.read_folds()
    keys = zip(rows["languages"], rows["ids"], strict=True)
    for number, key in enumerate(keys):
        if fold_of[key] == 0:
            rows["labels"][number] = [
                None if cell is None else 1 - cell for cell in rows["labels"][number]
            ]
    changed = Path(shutil.copytree(pair[0].path, tmp_path / "other" / "tiny"))
    write_json(changed / "rows.json", rows)
    other = blend(tmp_path / "changed", [Run.open(changed), pair[1]])
    np.testing.assert_array_equal(read_probs(other.oof_file(0)).values, before)
    assert not np.array_equal(
        read_probs(other.oof_file(1)).values, read_probs(run.oof_file(1)).values
    )


def test_the_same_members_give_the_same_bytes_and_a_kill_loses_nothing(
    pair: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semeval_kit.run import blending

    whole = digests(blend(tmp_path / "a" / "both", pair).path)
    for step in ("_write_folds", "_choose", "_write_splits", "tune", "pack", "_judge"):
        path = tmp_path / step / "both"

        def stop(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(blending, step, stop)
            with pytest.raises(KeyboardInterrupt):
                blend(path, pair)
        assert digests(blend(path, pair).path) == {
            **whole,
            "weights.json": digests(path)["weights.json"],  # where the members lie from here
        }


def test_weights_set_by_hand_are_kept(pair: list[Run], tmp_path: Path) -> None:
    run = blend(tmp_path / "both", pair, weights={"words": 0.3})
    weights, _ = read_blend(run)
    np.testing.assert_allclose(weights.of("eng"), [[0.7, 0.3]] * 6)
    oof = run.read_oof().values
    expected = 0.7 * pair[0].read_oof().values + 0.3 * pair[1].read_oof().values
    np.testing.assert_allclose(oof, expected, atol=1e-12)


def test_a_blend_of_blends_and_a_run_with_other_folds(
    pair: list[Run], linear: Callable[..., Run], tmp_path: Path
) -> None:
    said: list[str] = []
    inner = blend(tmp_path / "inner", pair)
    other = linear("refolded", seed=7)
    run = blend_runs(tmp_path / "outer", [inner, other], BlendPlan(), None, said.append)
    assert any("refolded has other folds than inner" in text for text in said)
    assert run.zip_file.is_file()
    weights, _ = read_blend(run)
    voice = load_voices(run, [0], "eng")[0]
    texts = ["wondi bara", "mourno tearil"]
    parts = [load_voices(one, range(one.n_folds), "eng") for one in (inner, other)]
    means = [np.mean([v.probs(texts) for v in voices], axis=0) for voices in parts]
    table = weights.of("eng")
    expected = sum(table[:, n] * mean for n, mean in enumerate(means))
    np.testing.assert_allclose(voice.probs(texts), expected, atol=1e-12)


def test_members_share_languages(
    pair: list[Run], linear: Callable[..., Run], tmp_path: Path
) -> None:
    english = linear("english", languages=("eng",))
    run = blend(tmp_path / "both", [pair[0], english])
    assert run.languages == ("eng",)
    assert len(run.read_oof()) == 32
    assert "disgust" not in run.read_oof().target_names


def test_members_that_do_not_fit_are_refused_with_the_reason(
    pair: list[Run], linear: Callable[..., Run], tmp_path: Path, tiny_data: Path
) -> None:
    data = Path(__file__).parents[2] / "data"
    levels = linear("levels", languages=("eng",), task="demo-intensity", data=data)
    with pytest.raises(KitError, match="different tasks: tiny is of .*, levels is of demo-inten"):
        blend(tmp_path / "x", [pair[0], levels])
    with pytest.raises(KitError, match="at least two"):
        blend(tmp_path / "x", pair[:1])
    held = linear("held", holdout=0.4)
    with pytest.raises(KitError, match="has learnt from .* rows on which the blend is judged"):
        blend(tmp_path / "x", [pair[0], held])
    both = linear("both-splits", train_splits=("train", "dev"))
    with pytest.raises(KitError, match="lacks 64 of the 64 rows of tiny"):
        blend(tmp_path / "x", [pair[0], both])
    on_dev = linear("on-dev", holdout_split="dev")
    with pytest.raises(KitError, match="both-splits: has learnt from dev, on which this blend"):
        blend(tmp_path / "x", [on_dev, both])
    with pytest.raises(KitError, match="no member nobody to weigh"):
        blend(tmp_path / "x", pair, weights={"nobody": 0.3})
    with pytest.raises(KitError, match="must leave something"):
        blend(tmp_path / "x", pair, weights={"words": 1.0})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: values + 1.0, "a probability is not in 0..1"),
        (lambda values: values * np.nan, "a value is not a number"),
    ],
)
def test_what_is_no_probability_is_refused(
    pair: list[Run], tmp_path: Path, change: Callable[[Any], Any], reason: str
) -> None:
    copy = Run.open(shutil.copytree(pair[1].path, tmp_path / "copy" / "words"))
    probs = read_probs(copy.probs_file("test", "eng"))
    values = probs.values.copy()
    values[3] = change(values[3])
    write_probs(
        copy.probs_file("test", "eng"),
        type(probs)(probs.ids, probs.languages, probs.target_names, values),
    )
    with pytest.raises(KitError, match=reason):
        blend(tmp_path / "x", [pair[0], copy])


def test_targets_in_another_order_are_refused(pair: list[Run], tmp_path: Path) -> None:
    copy = Run.open(shutil.copytree(pair[1].path, tmp_path / "copy" / "words"))
    for fold in (0, 1):
        path = copy.oof_file(fold)
        probs = read_probs(path)
        names = tuple(reversed(probs.target_names))
        write_probs(path, type(probs)(probs.ids, probs.languages, names, probs.values[:, ::-1]))
        done = read_json(copy.done_file(fold))
        done["oof_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        write_json(copy.done_file(fold), done)
    with pytest.raises(KitError, match="its columns are not the task's targets"):
        blend(tmp_path / "x", [pair[0], copy])


def test_another_blend_under_the_same_name_is_refused(pair: list[Run], tmp_path: Path) -> None:
    blend(tmp_path / "both", pair)
    with pytest.raises(KitError, match="other settings"):
        blend(tmp_path / "both", pair, weights={"words": 0.5})


def test_dev_and_test_files_hold_every_row(pair: list[Run], tmp_path: Path) -> None:
    run = blend(tmp_path / "both", pair)
    for split, count in (("dev", 10), ("test", 12)):
        with run.pred_file(split, "deu").open(encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) == count


def test_pages_name_the_members(pair: list[Run], tmp_path: Path) -> None:
    from semeval_kit.show.card import write_card

    run = blend(tmp_path / "both", pair)
    text = write_card(run)
    assert "A blend of 2 members" in text
    assert "tiny" in text
    assert "words" in text


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
    flags = ["--max-length", "16"] if command == "run" else []
    result = CliRunner().invoke(main, [command, *named, *task, *rest, *flags])
    assert result.exit_code == 0, result.output
    run = Run.open(tmp_path / "s" / "team")
    weights, members = read_blend(run)
    assert tuple(members) == ("team_words", "team_frozen")
    assert members["team_frozen"].recipe["encoder"] == f"frozen:{tiny_bert}"
    # A member's own fields give way to what is asked for by a flag.
    assert members["team_frozen"].recipe["max_length"] == (16 if flags else 24)
    np.testing.assert_allclose(weights.of("eng")[0], [0.75, 0.25])
    assert run.zip_file.is_file()
    assert "uniform mean" in result.output
    assert f"report:  {run.path / 'report.html'}" in result.output
    assert (run.path / "report.html").is_file()


def test_a_system_that_is_killed_at_any_write_loses_nothing(
    make_plan: Callable[..., Any],
    tmp_path: Path,
    in_process: list[Any],
    die_at_rename: Callable[[Callable[[], object], int], bool],
) -> None:
    members = {f"words{seed}": make_plan(("eng",), encoder="tfidf", seed=seed) for seed in (0, 1)}
    plan = SystemPlan(members, {})
    whole = build_system(tmp_path / "whole" / "both", plan, ENGINE, None, quiet)
    path, n_killed = tmp_path / "killed" / "both", 0
    while die_at_rename(lambda: build_system(path, plan, ENGINE, None, quiet), 25 * n_killed):
        n_killed += 1
    assert n_killed > 3
    for folder in (path, *(path.with_name(f"both_{name}") for name in members)):
        expected = whole.path.with_name(folder.name)
        found, whole_files = digests(folder), digests(expected)
        assert found.keys() == whole_files.keys()
        different = {name for name, digest in found.items() if whole_files[name] != digest}
        assert {Path(name).name for name in different} <= {"done.json"}  # which says how long
        assert Run(folder).zip_file.read_bytes() == Run(expected).zip_file.read_bytes()


def test_a_task_may_name_a_system_as_its_recipe() -> None:
    given = {"recipe": None, "model": None, "task": "semeval2024-task1-a"}
    assert find_system(given) == "relatedness-strong"
    assert find_system({**given, "model": "roberta-base"}) == "relatedness-strong"
    assert find_system({**given, "model": "tfidf"}) is None
    assert find_system({**given, "model": "frozen:embedded"}) is None
    assert find_system({**given, "recipe": "relatedness"}) is None
    assert find_system({**given, "task": "demo"}) is None


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
        ('[[members]]\nname = "a"\nfields = { seed = 3 }\n', "fields: seed is no field"),
        ('[[members]]\nname = "a"\nfields = { pool = 3 }\n', "fields: pool is no field"),
        ('epochs = 3\n[[members]]\nname = "a"\n', "epochs must stand in them"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(KitError, match=told):
            load_members(str(path))
