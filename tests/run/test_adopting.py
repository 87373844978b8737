"""Files of any origin as runs: what they must say, and what is known of them then."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semeval_kit.errors import KitError
from semeval_kit.files import read_json
from semeval_kit.run import stages
from semeval_kit.run.adopting import AdoptPlan, adopt_files
from semeval_kit.run.blending import BlendPlan, blend_runs, read_blend
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import Engine
from semeval_kit.run.team import ON_DEV

TASK = "semeval2025-task11-a"


@pytest.fixture
def answers(tiny_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """A file that answers a split of the tiny English data: its labels, a little unsure."""

    def write(split: str, *, change: Callable[[list[dict[str, Any]]], Any] = list) -> Path:
        source = tiny_data / "track_a" / split / "eng.csv"
        if split == "test":
            source = tiny_data / "gold" / "track_a" / "eng.csv"
            source = source if source.is_file() else next((tiny_data / "gold").rglob("eng.csv"))
        with source.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        labels = ["anger", "fear", "joy", "sadness", "surprise"]
        told = [{"id": r["id"], **{n: 0.1 + 0.8 * float(r[n]) for n in labels}} for r in rows]
        told = change(told) or told
        path = tmp_path / f"{split}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(told[0]))
            writer.writeheader()
            writer.writerows(told)
        return path

    return write


@pytest.fixture
def words(make_plan: Callable[..., Any], tmp_path: Path, in_process: list[Any]) -> Run:
    """A run of n-grams in English, to blend files with."""
    plan = make_plan(("eng",), encoder="tfidf")
    return stages.run_all(tmp_path / "words", plan, Engine(1, 1), None, lambda _: None)


def adopt(path: Path, data: Path, *files: tuple[str, Path]) -> tuple[Run, list[str]]:
    said: list[str] = []
    plan = AdoptPlan(TASK, data, ("eng",), files)
    return adopt_files(path, plan, None, said.append), said


def test_a_file_with_training_rows_is_a_run(
    answers: Callable[..., Path], tiny_data: Path, tmp_path: Path
) -> None:
    files = [("train", answers("train")), ("test", answers("test"))]
    run, _ = adopt(tmp_path / "llm", tiny_data, *files)
    assert (run.member, run.n_folds) == ("external", 5)
    assert read_json(run.estimate_file)["cross_fitted"]["score"] == 1.0
    assert run.zip_file.is_file()
    np.testing.assert_allclose(np.unique(run.read_oof().values), [0.1, 0.9])
    again, _ = adopt(tmp_path / "llm", tiny_data, *files)
    assert again.path == run.path


def test_a_kill_at_any_write_loses_nothing(
    answers: Callable[..., Path],
    tiny_data: Path,
    tmp_path: Path,
    die_at_rename: Callable[[Callable[[], object], int], bool],
) -> None:
    files = [(split, answers(split)) for split in ("train", "dev", "test")]
    whole, _ = adopt(tmp_path / "whole" / "llm", tiny_data, *files)
    path, n_killed = tmp_path / "killed" / "llm", 0
    # A file takes three renames, so that steps of seven end at each of them.
    while die_at_rename(lambda: adopt(path, tiny_data, *files), 7 * n_killed):
        n_killed += 1
    assert n_killed > 5
    written = {p.relative_to(path) for p in path.rglob("*") if p.is_file()}
    assert written == {p.relative_to(whole.path) for p in whole.path.rglob("*") if p.is_file()}
    for name in written - {Path("run.json"), Path("SHA256SUMS")}:  # which say when it was made
        assert (path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_rows_of_one_file_may_say_their_split_and_labels_are_hard_answers(
    tiny_data: Path, tmp_path: Path
) -> None:
    lines = []
    for split in ("train", "dev"):
        with (tiny_data / "track_a" / split / "eng.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                labels = {n: int(row[n]) for n in ("anger", "fear", "joy", "sadness", "surprise")}
                lines.append(json.dumps({"id": row["id"], "split": split, "labels": labels}))
    (tmp_path / "all.jsonl").write_text("\n".join(lines), encoding="utf-8")
    run, _ = adopt(tmp_path / "llm", tiny_data, ("", tmp_path / "all.jsonl"))
    assert set(np.unique(run.read_oof().values)) == {0.0, 1.0}
    assert run.probs_file("dev", "eng").is_file()


def test_without_training_rows_the_blend_is_judged_on_dev(
    answers: Callable[..., Path], words: Run, tiny_data: Path, tmp_path: Path
) -> None:
    llm, _ = adopt(tmp_path / "llm", tiny_data, ("dev", answers("dev")), ("test", answers("test")))
    assert llm.held_out_split == "dev"
    both = blend_runs(tmp_path / "both", [words, llm], BlendPlan(), None, lambda _: None)
    assert both.held_out_split == "dev"
    assert ON_DEV in read_json(both.estimate_file)["notes"]
    assert read_json(both.estimate_file)["n_examples"] == 10
    assert both.zip_file.is_file()


def test_a_cross_lingual_task_lets_nothing_be_learnt_from_dev(
    answers: Callable[..., Path],
    make_plan: Callable[..., Any],
    tiny_data: Path,
    tmp_path: Path,
    in_process: list[Any],
) -> None:
    task, data = "semeval2025-task11-c", tmp_path / "data"
    shutil.copytree(tiny_data, data)
    for split in ("dev", "test"):
        shutil.copytree(data / "track_a" / split, data / "track_c" / split)
    files = (("dev", answers("dev")), ("test", answers("test")))
    said: list[str] = []
    llm = adopt_files(tmp_path / "llm", AdoptPlan(task, data, ("eng",), files), None, said.append)
    assert f"task {task} lets nothing be learnt from dev of eng, so it cannot be judged" in said[-1]
    assert not llm.thresholds_file.exists()
    assert llm.probs_file("dev", "eng").is_file()
    plan = make_plan(("eng",), task=task, data=data, train_languages=("deu",), encoder="tfidf")
    words = stages.run_all(tmp_path / "words", plan, Engine(1, 1), None, lambda _: None)
    with pytest.raises(KitError, match="lets nothing be learnt from dev, so only out-of-fold rows"):
        blend_runs(tmp_path / "both", [words, llm], BlendPlan(), None, lambda _: None)
    by_hand = BlendPlan(weights={"llm": 0.3})
    both = blend_runs(tmp_path / "both", [words, llm], by_hand, None, lambda _: None)
    assert both.held_out_split == ""
    assert both.zip_file.is_file()


def test_with_test_rows_alone_only_a_weight_set_by_hand_lets_it_in(
    answers: Callable[..., Path], words: Run, tiny_data: Path, tmp_path: Path
) -> None:
    llm, said = adopt(tmp_path / "llm", tiny_data, ("test", answers("test")))
    assert "--weight llm=0.3" in said[-1]
    with pytest.raises(KitError, match="Set its weight by hand: --weight llm="):
        blend_runs(tmp_path / "x", [words, llm], BlendPlan(), None, lambda _: None)
    given = BlendPlan(weights={"llm": 0.3})
    both = blend_runs(tmp_path / "both", [words, llm], given, None, lambda _: None)
    np.testing.assert_allclose(read_blend(both)[0].of("eng")[0], [0.7, 0.3])
    notes = read_json(both.estimate_file)["notes"]
    assert "llm has no rows with known labels: the figures here leave it out." in notes
    expected = 0.7 * words.read_probs("test", "eng").values
    expected += 0.3 * llm.read_probs("test", "eng").values
    np.testing.assert_allclose(both.read_probs("test", "eng").values, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[1:], "the files lack 1 train row"),
        (lambda rows: [{**rows[0], "id": "x"}, *rows], "the files have unknown 1 train row"),
        (lambda rows: [rows[0], *rows], "line 3: id '.*' is double"),
        (lambda rows: [{**r, "joy": 1.5} for r in rows], "line 2: 'joy' is 1.5; expected a prob"),
        (lambda rows: [{**r, "joy": "nan"} for r in rows], "line 2: 'joy' is nan"),
        (lambda rows: [{**r, "joy": "yes"} for r in rows], "'joy' is 'yes'; expected a number"),
        (lambda rows: [{**r, "joy": ""} for r in rows], "'joy' is missing"),
    ],
)
def test_what_a_file_must_not_say(
    answers: Callable[..., Path], tiny_data: Path, tmp_path: Path, change: Any, told: str
) -> None:
    path = answers("train", change=change)
    with pytest.raises(KitError, match=told):
        adopt(tmp_path / "llm", tiny_data, ("train", path))
    with pytest.raises(KitError, match="its split is not known"):
        adopt(tmp_path / "llm", tiny_data, ("", path))
    assert not (tmp_path / "llm").exists()
