"""All stages: what a finished run holds, and that running again is all there is to resuming."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import psutil
import pytest

from semeval_kit.errors import KitError
from semeval_kit.files import write_kept
from semeval_kit.run import stages
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import Engine, Plan, run_all
from semeval_kit.submission.validate import validate_submission

pytestmark = pytest.mark.trains

TRACK_C = "semeval2025-task11-c"
SHORT = {"epochs": 1, "holdout": 0.4}
Event = dict[str, Any]


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data, to be changed."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


@pytest.fixture
def copied(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished tiny run, to be changed."""
    return Path(shutil.copytree(trained_run, tmp_path / "copy" / "tiny"))


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(stages, "run_folds", refuse)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def finish(path: Path, plan: Plan, gold: Path | None = None) -> tuple[Run, list[str]]:
    said: list[str] = []
    return run_all(path, plan, Engine(jobs=1, threads=1), gold, said.append), said


def test_a_finished_run_holds_exactly_this(trained_run: Path) -> None:
    model = ("MANIFEST.json", "config.json", "model.safetensors")
    model += ("head.json", "head.safetensors", "tokenizer.json", "tokenizer_config.json")
    expected = {"estimate.json", "folds.csv", "recipe.toml", "rows.json", "run.json", "score.json"}
    expected |= {"SHA256SUMS", "oof_answers.csv", "task.toml", "thresholds.json", "tiny.zip"}
    for fold in (0, 1):
        own = {"done.json", "history.jsonl", "oof.csv", "probs_dev.csv", "probs_test.csv"}
        own.add("SHA256SUMS")
        own |= {f"model/{name}" for name in model}
        expected |= {f"fold-{fold}/{name}" for name in own}
    for split in ("dev", "test"):
        expected |= {f"{split}/{name}" for name in ("SHA256SUMS", "rows.json", "source.json")}
        for language in ("eng", "deu"):
            expected |= {f"{split}/probs_{language}.csv", f"{split}/pred_{language}.csv"}
    assert set(digests(trained_run)) == expected
    assert not list(trained_run.rglob(".*"))


def test_a_finished_run_says_how_it_was_made(trained_run: Path, tiny_data: Path) -> None:
    settings = Run.open(trained_run).settings
    train = tiny_data / "track_a" / "train" / "eng.csv"
    digest = hashlib.sha256(train.read_bytes()).hexdigest()
    assert settings["data_sha256"]["track_a/train/eng.csv"] == digest
    assert settings["languages"] == settings["train_languages"] == ["eng", "deu"]
    assert {"torch", "transformers", "semeval-kit"} <= set(settings["versions"])
    assert settings["name"] == "tiny"


def test_every_row_is_held_out_once(trained_run: Path) -> None:
    run = Run.open(trained_run)
    oof = run.read_oof()
    examples = run.read_train()
    assert (oof.languages, oof.ids) == (examples.languages, examples.ids)
    assert len(oof) == 64
    sizes = [run.read_done(fold)["n_valid"] for fold in (0, 1)]
    assert sum(sizes) == 64
    assert [run.read_done(fold)["n_train"] for fold in (1, 0)] == sizes


def test_the_zip_is_accepted_and_scored(trained_run: Path, tiny_data: Path) -> None:
    run = Run.open(trained_run)
    with zipfile.ZipFile(run.zip_file) as archive:
        names = archive.namelist()
        headers = {name: archive.read(name).decode().splitlines()[0] for name in names}
    assert sorted(names) == ["track_a/pred_deu.csv", "track_a/pred_eng.csv"]
    assert headers["track_a/pred_eng.csv"] == "id,anger,fear,joy,sadness,surprise"
    assert headers["track_a/pred_deu.csv"] == "id,anger,disgust,fear,joy,sadness,surprise"
    assert validate_submission(run.task, run.zip_file, tiny_data / "gold").errors == []
    score = json.loads(run.score_file.read_text(encoding="utf-8"))
    assert score["accepted"] is True
    assert score["scores"]["languages_scored"] == 2


def test_predictions_are_the_thresholds_over_the_probabilities(trained_run: Path) -> None:
    run = Run.open(trained_run)
    thresholds = json.loads(run.thresholds_file.read_text(encoding="utf-8"))
    for language in run.languages:
        probs = run.read_probs("test", language)
        with run.pred_file("test", language).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows] == list(probs.ids)
        values = dict(zip(thresholds["target_names"], thresholds["values"][language], strict=True))
        for label in run.task.labels_for(language):
            column = probs.values[:, probs.target_names.index(label)]
            chosen = (column >= values[label]).astype(int).tolist()
            assert [int(row[label]) for row in rows] == chosen


@pytest.mark.usefixtures("no_training")
def test_the_same_command_again_changes_no_byte(
    copied: Path, make_plan: Callable[..., Plan], tiny_data: Path
) -> None:
    before = digests(copied)
    _, said = finish(copied, make_plan(), tiny_data / "gold")
    assert digests(copied) == before
    assert [line for line in said if not line.startswith("warning: ")] == []


def test_the_answers_that_were_judged_are_kept(trained_run: Path) -> None:
    run = Run.open(trained_run)
    estimate = json.loads(run.estimate_file.read_text(encoding="utf-8"))
    content = run.oof_answers_file.read_bytes()
    assert hashlib.sha256(content).hexdigest() == estimate["answers_sha256"]
    rows = list(csv.DictReader(content.decode().splitlines()))
    oof = run.read_oof()
    assert [(row["language"], row["id"]) for row in rows] == list(oof.keys)
    for label in run.task.labels_for("eng"):
        half = oof.values[:, oof.target_names.index(label)] >= 0.5
        assert [int(row[f"half:{label}"]) for row in rows] == half.astype(int).tolist()
        assert {row[f"tuned:{label}"] for row in rows} <= {"0", "1"}


def test_the_estimate_speaks_of_the_upload(trained_run: Path) -> None:
    run = Run.open(trained_run)
    estimate = json.loads(run.estimate_file.read_text(encoding="utf-8"))
    expected = estimate["expected"]
    n_test = sum(len(run.read_probs("test", language)) for language in run.languages)
    assert (expected["n_models"], expected["n_rows"], expected["split"]) == (2, n_test, "test")
    if not expected["withheld"]:
        assert expected["score"] == pytest.approx(expected["base"] + expected["gain"], abs=1e-12)
        assert expected["low"] < expected["score"] < expected["high"]
    assert any("mean of 2 models" in note for note in estimate["notes"])
    assert estimate["dev"]["n_examples"] == sum(
        len(run.read_probs("dev", language)) for language in run.languages
    )
    names = [floor["name"] for floor in estimate["verdict"]["floors"]]
    assert names == ["the same answer for every row", "word n-grams and logistic regression"]
    assert estimate["rule"] == "shrunk"


def test_a_new_zip_does_not_keep_the_score_of_the_old_one(copied: Path, tiny_data: Path) -> None:
    run = Run.open(copied)
    before = json.loads(run.score_file.read_text(encoding="utf-8"))
    assert before["zip_sha256"] == hashlib.sha256(run.zip_file.read_bytes()).hexdigest()
    stages.pack(run, lambda _: None)
    assert json.loads(run.score_file.read_text(encoding="utf-8")) == before  # the same zip
    rule = json.loads(run.thresholds_file.read_text(encoding="utf-8"))
    rule["values"]["eng"] = [1.1] * len(rule["target_names"])
    write_kept(run.thresholds_file, json.dumps(rule))
    stages.pack(run, lambda _: None)
    assert not run.score_file.exists()
    assert stages.score(run, tiny_data / "gold", lambda _: None) is not None
    after = json.loads(run.score_file.read_text(encoding="utf-8"))
    assert after["zip_sha256"] != before["zip_sha256"]
    assert run.find_gold() == tiny_data / "gold"
    assert run.find_gold(tiny_data) == tiny_data
    run.score_file.unlink()
    assert run.find_gold() is None


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("changes", "field"),
    [({"lr": 1e-4}, "recipe.lr"), ({"seed": 5}, "seed"), ({"folds": 3}, "recipe.folds")],
)
def test_other_settings_are_refused(
    trained_run: Path, make_plan: Callable[..., Plan], changes: Event, field: str
) -> None:
    with pytest.raises(KitError, match=field):
        finish(trained_run, make_plan(**changes))
    with pytest.raises(KitError, match="languages: the run has .'eng', 'deu'.*you ask"):
        finish(trained_run, make_plan(("eng",)))


@pytest.mark.usefixtures("in_process")
def test_changed_training_data_is_refused(
    make_plan: Callable[..., Plan], data: Path, tmp_path: Path
) -> None:
    plan = make_plan(("eng",), data=data, **SHORT)
    run = stages.prepare(tmp_path / "run", plan, lambda _: None)
    path = data / "track_a" / "train" / "eng.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("bara", "dotu"), encoding="utf-8")
    with pytest.raises(KitError, match=r"changed since the run was made: track_a/train/eng\.csv"):
        stages.require_same_data(run)
    run.checkpoint_dir(0).mkdir(parents=True)
    with pytest.raises(KitError, match=r"data_sha256\.track_a/train/eng\.csv"):
        finish(run.path, plan)


@pytest.mark.usefixtures("in_process")
def test_a_changed_encoder_is_refused(
    make_plan: Callable[..., Plan], tiny_bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    plan = make_plan(("eng",), encoder=str(folder), **SHORT)
    run = stages.prepare(tmp_path / "run", plan, lambda _: None)
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(KitError, match=r"changed since the run was made: config\.json"):
        stages.train(run, Engine(), lambda _: None)
    run.checkpoint_dir(0).mkdir(parents=True)
    with pytest.raises(KitError, match=r"encoder_sha256\.config\.json: the run has"):
        finish(run.path, plan)


def test_a_hub_encoder_stays_at_the_commit_that_the_run_began_with(
    make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    newest = ["a" * 40]
    stage = importlib.import_module("semeval_kit.run.plan")
    monkeypatch.setattr(stage, "pin_revision", lambda _, revision: revision or newest[0])
    plan = make_plan(("eng",), encoder="org/encoder", **SHORT)
    run = stages.prepare(tmp_path / "run", plan, lambda _: None)
    assert run.recipe["revision"] == "a" * 40
    newest[0] = "b" * 40
    assert stages.prepare(tmp_path / "run", plan, lambda _: None).recipe["revision"] == "a" * 40
    assert stages.prepare(tmp_path / "b", plan, lambda _: None).recipe["revision"] == "b" * 40
    Run.open(tmp_path / "run").checkpoint_dir(0).mkdir(parents=True)
    other = make_plan(("eng",), encoder="org/encoder", revision="b" * 40, **SHORT)
    with pytest.raises(KitError, match=r"recipe\.revision: the run has 'aaaa"):
        stages.prepare(tmp_path / "run", other, lambda _: None)


@pytest.mark.usefixtures("in_process")
def test_the_rest_of_a_kill_is_cleared(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan = make_plan(("eng",), **SHORT)
    run, _ = finish(tmp_path / "run", plan)
    before = digests(run.path)
    left = ["fold-0/checkpoint/epoch-0001/model.safetensors", "fold-0/worker.log"]
    left += [".run.77.tmp.zip", "test/.pred_eng.csv.77.tmp", "fold-0/.checkpoint.removed-7/a"]
    for name in left:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_bytes(b"x")
    finish(run.path, plan)
    assert digests(run.path) == before
    assert not (run.path / "fold-0" / "checkpoint").exists()


def test_a_test_split_may_come_later(
    make_plan: Callable[..., Plan], data: Path, tmp_path: Path, in_process: list[Event]
) -> None:
    hidden = (data / "track_a" / "test").rename(tmp_path / "hidden")
    plan = make_plan(("eng",), data=data, **SHORT)
    run, said = finish(tmp_path / "run", plan)
    assert f"no test file for eng in {data}: test is not predicted" in said
    assert not run.zip_file.exists()
    assert run.pred_file("dev", "eng").is_file()
    oof = digests(run.fold_dir(0))["oof.csv"]

    in_process.clear()
    hidden.rename(data / "track_a" / "test")
    run, _ = finish(tmp_path / "run", plan)
    assert run.zip_file.is_file()
    assert digests(run.fold_dir(0))["oof.csv"] == oof
    assert not [event for event in in_process if event["event"] == "epoch"]


def test_other_test_texts_are_predicted_anew(
    make_plan: Callable[..., Plan], data: Path, tmp_path: Path, in_process: list[Event]
) -> None:
    plan = make_plan(("eng",), data=data, **SHORT)
    run, _ = finish(tmp_path / "run", plan)
    before = digests(run.path)
    path = data / "track_a" / "test" / "eng.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("track_a_00001,", "track_a_00001,grumo "), encoding="utf-8")
    in_process.clear()
    finish(run.path, plan)
    after = digests(run.path)
    changed = {name for name in after if after[name] != before[name]}
    assert {"test/probs_eng.csv", "test/source.json", "fold-0/probs_test.csv"} <= changed
    assert not [name for name in changed if "dev" in name or "oof" in name]
    assert not [event for event in in_process if event["event"] == "epoch"]


@pytest.mark.usefixtures("in_process")
def test_train_and_dev_can_both_be_learnt_from(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan(("eng",), train_splits=("train", "dev"), epochs=1)
    run, said = finish(tmp_path / "run", plan)
    ids = [id_ for _, id_ in run.read_folds()]
    assert len(ids) == 42
    assert ids[0] == "train:eng_train_track_a_00001"
    assert ids[-1] == "dev:eng_dev_track_a_00010"
    assert "dev was learnt from: it is not predicted" in said
    assert not (run.path / "dev").exists()
    assert run.zip_file.is_file()
    assert set(run.settings["data_sha256"]) == {
        "track_a/train/eng.csv",
        "track_a/dev/eng.csv",
    }


@pytest.mark.usefixtures("in_process")
def test_a_split_can_be_held_out(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    run, _ = finish(tmp_path / "run", make_plan(("eng",), holdout_split="dev", epochs=1))
    assert run.n_folds == 1
    held_out = [id_ for (_, id_), fold in run.read_folds().items() if fold == 0]
    assert held_out == [f"dev:eng_dev_track_a_{row:05d}" for row in range(1, 11)]
    assert run.read_done(0)["n_train"] == 32
    assert run.read_oof().ids == tuple(held_out)


def test_a_run_says_once_what_is_learnt_from_and_what_is_held_out(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    def describe(name: str, **fields: Any) -> tuple[Any, ...]:
        run = stages.prepare(tmp_path / name, make_plan(("eng",), **fields), lambda _: None)
        rows = (run.n_learnt_rows, run.n_held_out_rows, len(run.read_learnt()))
        return (run.learnt_splits, run.held_out_split, run.scheme, *rows)

    both = ("train", "dev")
    assert describe("folds", folds=2) == (("train",), "", "2 folds", 32, 32, 32)
    assert describe("dev", holdout_split="dev") == (("train",), "dev", "dev held out", 32, 10, 32)
    assert describe("all", train_splits=both)[:4] == (both, "", "2 folds", 42)
    n_learnt, n_held_out, n_read = describe("part", holdout=0.25)[3:]
    assert n_learnt + n_held_out == 32
    assert n_read == n_learnt < 32
    assert Run.open(tmp_path / "part").scheme == "25% held out"
    learnt = Run.open(tmp_path / "dev").read_learnt()
    assert {id_.split(":")[0] for id_ in learnt.ids} == {"train"}


@pytest.mark.usefixtures("in_process")
def test_one_run_per_language_makes_one_zip(
    make_plan: Callable[..., Plan], tmp_path: Path, tiny_data: Path
) -> None:
    said: list[str] = []
    path, engine = tmp_path / "run", Engine(jobs=1, threads=1)
    work = stages.run_each_language
    whole = work(path, make_plan(**SHORT), engine, tiny_data / "gold", said.append)
    with zipfile.ZipFile(whole.zip_file) as archive:
        assert sorted(archive.namelist()) == ["track_a/pred_deu.csv", "track_a/pred_eng.csv"]
    for language in ("eng", "deu"):
        part = Run.open(whole.language_dir(language))
        assert part.languages == (language,)
        assert {name for name, _ in part.read_folds()} == {language}
        assert part.task.all_labels == part.task.labels_for(language)
    score = json.loads(whole.score_file.read_text(encoding="utf-8"))
    assert score["scores"]["languages_scored"] == 2
    before = digests(whole.path)
    work(path, make_plan(**SHORT), engine, tiny_data / "gold", said.append)
    assert digests(whole.path) == before
    with pytest.raises(KitError, match="seed"):
        work(path, make_plan(**{**SHORT, "seed": 4}), engine, None, said.append)


@pytest.mark.usefixtures("in_process")
def test_named_training_languages_serve_each_language(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan(train_languages=("eng", "deu"), **SHORT)
    engine = Engine(jobs=1, threads=1)
    whole = stages.run_each_language(tmp_path / "run", plan, engine, None, lambda _: None)
    for language in ("eng", "deu"):
        part = Run.open(whole.language_dir(language))
        assert {name for name, _ in part.read_folds()} == {"eng", "deu"}


@pytest.fixture
def track_c(make_plan: Callable[..., Plan], data: Path) -> Callable[..., Plan]:
    """A cross-lingual plan over the tiny data."""
    for split in ("dev", "test"):
        shutil.copytree(data / "track_a" / split, data / "track_c" / split)
    return lambda *languages, learnt=(): make_plan(
        languages, task=TRACK_C, data=data, train_languages=learnt, **SHORT
    )


@pytest.mark.usefixtures("in_process")
def test_a_cross_lingual_run_learns_from_other_languages(
    track_c: Callable[..., Plan], tmp_path: Path
) -> None:
    run, _ = finish(tmp_path / "run", track_c("eng", learnt=("deu",)))
    assert {language for language, _ in run.read_folds()} == {"deu"}
    with zipfile.ZipFile(run.zip_file) as archive:
        assert archive.namelist() == ["track_c/pred_eng.csv"]


def test_a_cross_lingual_run_never_sees_what_it_predicts(
    track_c: Callable[..., Plan], tmp_path: Path
) -> None:
    for languages, learnt in ((("eng",), ("eng",)), (("eng", "deu"), ("deu",))):
        with pytest.raises(KitError, match="would be both learnt from and predicted"):
            finish(tmp_path / "run", track_c(*languages, learnt=learnt))
    assert not (tmp_path / "run").exists()
    plan = track_c("eng", "deu", learnt=("eng",))
    with pytest.raises(KitError, match="cannot be learnt from eng"):
        stages.run_each_language(tmp_path / "whole", plan, Engine(), None, lambda _: None)


def test_a_cross_lingual_run_reads_no_text_of_dev_even_without_labels(
    track_c: Callable[..., Plan], data: Path, tmp_path: Path
) -> None:
    plan = track_c("eng", learnt=("deu",))
    table = pandas.read_csv(data / "track_c" / "dev" / "eng.csv")
    labels = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
    row = {"language": "deu", "id": "x1", "text": table["text"][0], **dict.fromkeys(labels, 0.5)}
    extra = tmp_path / "soft.csv"
    pandas.DataFrame([row, {**row, "id": "x2", "text": "anderswo gefunden"}]).to_csv(
        extra, index=False
    )
    said: list[str] = []
    fields = {"extra": (str(extra),), "transductive": True, "mlm_epochs": 1}
    config = plan.config.model_copy(update=fields)
    run = stages.prepare(tmp_path / "run", replace(plan, config=config), said.append)
    found = run.read_extra()
    assert found is not None
    assert found.examples.texts == ("anderswo gefunden",)
    assert any("Task semeval2025-task11-c lets nothing be learnt from them." in s for s in said)
    (unlabelled,) = run.read_unlabelled()
    assert {text.partition("_")[0] for text in unlabelled.ids} == {"eng"}
    assert all("_test_" in id_ for id_ in unlabelled.ids)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("tampered", ["folds", "settings"])
def test_a_tampered_cross_lingual_run_makes_no_zip(
    track_c: Callable[..., Plan], tmp_path: Path, tampered: str
) -> None:
    run, _ = finish(tmp_path / "run", track_c("eng", learnt=("deu",)))
    run.zip_file.unlink()
    if tampered == "folds":
        with run.folds_file.open("a", encoding="utf-8") as file:
            file.write("eng_train_track_a_00001,eng,0\n")
        write_kept(run.folds_file, run.folds_file.read_bytes())
    else:
        text = run.settings_file.read_text(encoding="utf-8")
        write_kept(run.settings_file, text.replace('"deu"', '"eng"'))
    with pytest.raises(KitError, match=r"holds rows of eng, which the run predicts"):
        stages.pack(Run.open(run.path), lambda _: None)
    assert not run.zip_file.exists()


def test_languages_without_training_files_are_told(
    track_c: Callable[..., Plan], make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    with pytest.raises(KitError, match="no training language zul"):
        finish(tmp_path / "run", track_c("eng", learnt=("zul",)))
    with pytest.raises(KitError, match="no train file for language 'ron'"):
        finish(tmp_path / "run", make_plan(("ron",)))


def test_texts_of_dev_and_test_among_the_training_texts_are_told(
    make_plan: Callable[..., Plan], data: Path, tmp_path: Path
) -> None:
    def row(split: str, number: int) -> list[str]:
        path = data / "track_a" / split / "eng.csv"
        return path.read_text(encoding="utf-8").splitlines()[number].split(",")

    path = data / "track_a" / "test" / "eng.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    for number in (1, 2):
        cells = lines[number].split(",")
        cells[1] = row("train", number)[1].upper()
        lines[number] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    said: list[str] = []
    stages.prepare(tmp_path / "run", make_plan(("eng",), data=data), said.append)
    warnings = [line for line in said if "are also training texts" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "warning: 2 of 12 test texts are also training texts: "
        "eng_test_track_a_00001, eng_test_track_a_00002. That is 16.67%: an accuracy on test may "
        "be up to 0.1667 too high for it."
    )

    path = data / "track_a" / "dev" / "eng.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    cells = lines[3].split(",")
    cells[1] = row("train", 5)[1]
    lines[3] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    said.clear()
    plan = make_plan(("eng",), data=data, holdout_split="dev")
    stages.prepare(tmp_path / "dev", plan, said.append)
    warnings = [line for line in said if " also " in line and " training text" in line]
    assert [line.split(".")[0] for line in warnings] == [
        "warning: 1 of 10 held-out texts is also a training text: dev:eng_dev_track_a_00003",
        "warning: 2 of 12 test texts are also training texts: "
        "eng_test_track_a_00001, eng_test_track_a_00002",
    ]


def test_scarce_labels_are_told(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    said: list[str] = []
    run = stages.prepare(tmp_path / "run", make_plan(("deu",), folds=20), said.append)
    labels = run.read_train().labels
    for column, label in enumerate(run.task.all_labels):
        count = int(np.nansum(labels[:, column]))
        assert count < 20
        assert any(f"label '{label}' has {count} positive rows for 20" in line for line in said)
    assert said[-1] == f"{run.path}: 32 rows in deu; 20 folds"


def test_folds_that_a_run_does_not_have_are_refused(trained_run: Path) -> None:
    with pytest.raises(KitError, match="has folds 0 to 1, you ask for"):
        stages.train(Run.open(trained_run), Engine(folds=(0, 4)), lambda _: None)


def test_a_run_is_worked_on_by_one_command(copied: Path, make_plan: Callable[..., Plan]) -> None:
    from semeval_kit.files import hold_lock

    with hold_lock(copied), pytest.raises(KitError, match="another process is at work here"):
        finish(copied, make_plan())


class Command:
    """`semeval-kit run` in processes of its own."""

    def __init__(self, arguments: list[str], fold: Path) -> None:
        self.fold = fold
        self.process = subprocess.Popen(
            [sys.executable, "-m", "semeval_kit", "run", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )

    def wait_for_epoch(self, epoch: int) -> None:
        """Wait until the checkpoint of that epoch, or of a later one, is there."""
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up and self.process.poll() is None:
            names = [path.name for path in (self.fold / "checkpoint").glob("epoch-*")]
            if any(name >= f"epoch-{epoch:04d}" for name in names):
                return
            time.sleep(0.01)
        pytest.fail(f"no epoch {epoch}: {self.process.communicate(timeout=5)[0]}")

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def kill_all(self) -> None:
        for process in self.family():
            process.kill()
        self.process.wait()


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    make_plan: Callable[..., Plan],
    tiny_data: Path,
    tiny_bert: Path,
    tmp_path: Path,
    in_process: list[Event],
) -> None:
    fields = {"holdout": 0.4, "epochs": 60, "batch_size": 4}
    whole, _ = finish(tmp_path / "whole", make_plan(("eng",), **fields), tiny_data / "gold")
    folder = tmp_path / "killed"
    given = {"task": "semeval2025-task11-a", "data": tiny_data, "langs": "eng"}
    given |= {"model": tiny_bert, "gold": tiny_data / "gold", "threads": 1, "jobs": 1}
    given |= {"submissions": tmp_path, "run": folder.name, "seeds": 1, "refold": False}
    given |= whole.recipe  # which leaves out what is as in a recipe of no lines
    given.pop("encoder")
    arguments = ["--no-report"]
    for name, value in given.items():
        if value != "":
            arguments += [f"--{name.replace('_', '-')}", str(value)]

    def start() -> Command:
        return Command(arguments, folder / "fold-0")

    # The whole tree, in the middle of training.
    command = start()
    command.wait_for_epoch(2)
    command.kill_all()
    # The command alone: what it started ends by itself.
    command = start()
    command.wait_for_epoch(12)
    family = command.family()
    command.process.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    # SIGTERM, as schedulers send it: all of it ends within ten seconds.
    command = start()
    command.wait_for_epoch(25)
    family = command.family()
    began = time.monotonic()
    command.process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family[1:], timeout=10)
    assert alive == []
    assert command.process.wait(timeout=10) == 143
    assert time.monotonic() - began < 10
    # The whole tree, at a moment that nothing is known of.
    command = start()
    time.sleep(6)
    if command.process.poll() is None:
        command.kill_all()

    command = start()
    said = command.process.communicate(timeout=200)[0]
    assert command.process.returncode == 0, said
    done = {name: digest for name, digest in digests(folder).items() if "score" not in name}
    expected = digests(whole.path)
    for name in ("fold-0/oof.csv", "fold-0/model/model.safetensors", "fold-0/probs_test.csv"):
        assert done[name] == expected[name], name
    assert done["thresholds.json"] == expected["thresholds.json"]
    assert done["test/pred_eng.csv"] == expected["test/pred_eng.csv"]
    assert done["killed.zip"] == expected["whole.zip"]
    assert {name.replace("killed", "whole") for name in done} == set(expected) - {"score.json"}
    assert not list(folder.rglob(".*"))


def test_processes_that_prepare_one_new_run_at_once_make_it_once(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan, path = make_plan(("eng",), **SHORT), tmp_path / "run"
    stages.prepare(tmp_path / "alone", plan, lambda _: None)
    pids = []
    for _ in range(6):
        if (pid := os.fork()) == 0:
            code = 1
            try:
                code = int(stages.prepare(path, plan, lambda _: None).path != path)
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 6
    for name in ("folds.csv", "rows.json", "task.toml", "recipe.toml"):
        assert (path / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert not list(path.glob(".*"))
