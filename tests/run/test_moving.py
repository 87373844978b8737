"""A run goes on elsewhere, reads its data once, and is not spoilt by a first attempt that fails."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main
from semeval_kit.data.examples import pack_rows, unpack_rows
from semeval_kit.errors import KitError
from semeval_kit.run import stages
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import Engine, Plan, run_all

SHORT = {"epochs": 1, "holdout": 0.4}
_opened: list[Counter[str]] = []


def _count_open(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened and isinstance(arguments[0], (str, Path)):
        _opened[-1][str(arguments[0])] += 1


sys.addaudithook(_count_open)


@pytest.fixture
def opened() -> Iterator[Counter[str]]:
    """How often each file was opened in this process."""
    _opened.append(Counter())
    yield _opened[-1]
    _opened.clear()


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data, to be changed."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.usefixtures("in_process")
def test_training_files_are_opened_three_times_in_a_run_of_five_folds(
    make_plan: Callable[..., Plan], tiny_data: Path, tmp_path: Path, opened: Counter[str]
) -> None:
    plan = make_plan(folds=5, epochs=1)
    run = run_all(tmp_path / "run", plan, Engine(1, 1), tiny_data / "gold", lambda _: None)
    stages.present(run, lambda _: None)
    counts = {path: n for path, n in opened.items() if "/train/" in path and path.endswith(".csv")}
    assert len(counts) == 2
    assert max(counts.values()) <= 3


def test_rows_are_kept_as_they_were_read(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    said: list[str] = []
    run = stages.prepare(tmp_path / "run", make_plan(), said.append)
    from semeval_kit.data.examples import read_splits

    read = read_splits(run.task, run.data, ("train",), run.languages)
    kept = Run.open(run.path).read_train()
    assert kept.labels.tobytes() == read.labels.tobytes()
    assert (kept.ids, kept.texts, kept.notes) == (read.ids, read.texts, read.notes)
    assert kept.label_order == read.label_order
    assert pack_rows(kept) == run.rows_file.read_text(encoding="utf-8")
    for wrong in (b"[]", b'{"ids": []}', b"\xff", b'{"ids": ["1"], "labels": [], "nothing": 1}'):
        with pytest.raises((ValueError, TypeError, AttributeError)):
            unpack_rows(wrong)


@pytest.mark.usefixtures("in_process")
def test_a_run_goes_on_where_it_is_copied_to(
    make_plan: Callable[..., Plan], data: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    encoder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    plan = make_plan(("eng",), data=data, encoder=str(encoder), epochs=1)
    expected = run_all(tmp_path / "stayed", plan, Engine(1, 1), None, lambda _: None)
    run = stages.prepare(tmp_path / "run", plan, lambda _: None)
    stages.train(run, Engine(1, 1, folds=(0,)), lambda _: None)

    moved = tmp_path / "elsewhere" / "run"
    shutil.move(run.path, moved)
    shutil.move(data / "track_a", tmp_path / "other")  # another layout of the same bytes
    shutil.move(encoder, tmp_path / "there")
    told = call("train", moved)
    assert told.exit_code == 1
    assert "--model FOLDER" in told.output
    assert call("train", moved, "--model", tiny_bert.parent / "tiny-electra").exit_code == 1
    assert call("train", moved, "--model", tmp_path / "there").exit_code == 0
    assert "no test file for eng" in call("probs", moved).output
    assert call("probs", moved, "--data", tmp_path / "other").exit_code == 0
    shutil.rmtree(tmp_path / "there")  # predicting needs it no more
    for stage in ("probs", "tune", "pack"):
        assert call(stage, moved).exit_code == 0, stage
    again = make_plan(("eng",), data=tmp_path / "other", encoder=str(tiny_bert), epochs=1)
    after = run_all(moved, again, Engine(1, 1), None, lambda _: None)
    assert digest(moved / "fold-1" / "oof.csv") == digest(expected.oof_file(1))
    assert digest(moved / "test" / "pred_eng.csv") == digest(expected.pred_file("test", "eng"))
    assert after.settings["data"] == str(data)  # frozen as it was
    assert after.data == tmp_path / "other"


@pytest.mark.usefixtures("in_process")
def test_other_bytes_elsewhere_are_refused(
    make_plan: Callable[..., Plan], data: Path, tmp_path: Path
) -> None:
    run = run_all(
        tmp_path / "run", make_plan(("eng",), data=data, **SHORT), Engine(), None, lambda _: None
    )
    other = Path(shutil.copytree(data, tmp_path / "other"))
    train, test = (other / "track_a" / split / "eng.csv" for split in ("train", "test"))
    train.write_text(train.read_text(encoding="utf-8").replace("bara", "dotu"), encoding="utf-8")
    told = call("tune", run.path, "--data", other)
    assert told.exit_code == 1
    assert "changed since the run was made: track_a/train/eng.csv" in told.output
    train.unlink()
    test.write_text(test.read_text(encoding="utf-8").replace("bara", "dotu"), encoding="utf-8")
    told = call("pack", run.path, "--data", other)
    assert told.exit_code == 1
    assert "changed since test was predicted: track_a/test/eng.csv" in told.output
    shutil.rmtree(data)
    test.unlink()
    again = make_plan(("eng",), data=other, **SHORT)
    said: list[str] = []
    stages.prepare(run.path, again, said.append)
    assert said == [f"{other}: no training files; the rows that the run keeps are used"]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("per_language", [False, True])
def test_a_first_attempt_that_fails_does_not_lock_the_name(
    make_plan: Callable[..., Plan], data: Path, tmp_path: Path, per_language: bool
) -> None:
    work = stages.run_each_language if per_language else run_all

    def attempt(folder: Path, **fields: Any) -> Run:
        plan = make_plan(data=folder, **{**SHORT, **fields})
        return work(tmp_path / "run", plan, Engine(1, 1), None, lambda _: None)

    with pytest.raises(KitError, match="no such folder"):
        attempt(tmp_path / "nothing")
    path = data / "track_a" / "train" / "deu.csv"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace(",1", ",7", 1), encoding="utf-8")
    with pytest.raises(KitError, match=r"deu\.csv, line \d+: .*'7'"):
        attempt(data)
    assert not (tmp_path / "run" / "run.json").exists()
    path.write_text(whole, encoding="utf-8")
    assert attempt(data).zip_file.is_file()
    with pytest.raises(KitError, match="remove the folder to start again"):
        attempt(data, seed=4)


@pytest.mark.usefixtures("in_process")
def test_settings_may_change_until_a_fold_has_begun(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    said: list[str] = []
    stages.prepare(tmp_path / "run", make_plan(("eng",), seed=1, **SHORT), said.append)
    run = stages.prepare(tmp_path / "run", make_plan(("deu",), seed=2, **SHORT), said.append)
    assert any("no fold has begun, so the run is made anew" in line for line in said)
    assert (run.languages, run.recipe["seed"]) == (("deu",), 2)
    assert {language for language, _ in run.read_folds()} == {"deu"}
    assert set(run.read_train().languages) == {"deu"}
    stages.train(run, Engine(1, 1), lambda _: None)
    with pytest.raises(KitError, match="made with other settings"):
        stages.prepare(tmp_path / "run", make_plan(("eng",), seed=2, **SHORT), said.append)


@pytest.mark.parametrize("name", ["my run/../x", "../esc", "/abs", "a/b", "a\\b", ".", "-x", ""])
def test_a_runs_name_is_no_path(tiny_data: Path, tmp_path: Path, name: str) -> None:
    told = call("prepare", "--data", tiny_data, f"--run={name}", "--submissions", tmp_path / "runs")
    assert told.exit_code == 2
    assert "expected a plain name" in told.output
    where = [f"--to={name}", "--submissions", tmp_path / "runs"]
    (tmp_path / "other").mkdir()
    for words in (["adopt", "test.csv", "--langs", "eng"], ["blend", tmp_path, tmp_path / "other"]):
        told = call(*words, *where)
        assert told.exit_code == 2
        assert f"--to '{name}': expected a plain name" in told.output
    assert not (tmp_path / "runs").exists()


def test_a_name_that_the_file_system_does_not_take_is_told(tiny_data: Path, tmp_path: Path) -> None:
    told = call("prepare", "--data", tiny_data, "--run", "ä" * 101, "--submissions", tmp_path)
    assert told.exit_code == 2
    assert "at most 200 bytes" in told.output


def test_two_that_make_one_run_at_once_make_the_same(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plans = [make_plan(("eng",), **SHORT), make_plan(("eng",), **SHORT)] * 2
    for attempt in range(5):
        path, start = tmp_path / f"run-{attempt}", Barrier(len(plans))

        def make(plan: Plan, path: Path = path, start: Barrier = start) -> bytes:
            start.wait()
            return stages.prepare(path, plan, lambda _: None).folds_file.read_bytes()

        with ThreadPoolExecutor(len(plans)) as pool:
            assert len(set(pool.map(make, plans))) == 1
        assert not list(path.glob(".*"))


@pytest.mark.usefixtures("in_process")
def test_a_mistyped_data_folder_is_named_though_the_run_is_there(
    make_plan: Callable[..., Plan], data: Path, tmp_path: Path
) -> None:
    run = stages.prepare(tmp_path / "run", make_plan(("eng",), data=data, **SHORT), lambda _: None)
    stages.train(run, Engine(1, 1), lambda _: None)
    empty = tmp_path / "empty"
    empty.mkdir()
    missing = tmp_path / "mistyped"
    for folder, words in (
        (
            missing,
            f"{missing}: no such folder. Give the folder with the organisers' files (--data).",
        ),
        (empty, f"{empty}: holds no file of semeval2025-task11-a in eng (tried "),
    ):
        again = make_plan(("eng",), data=folder, **SHORT)
        with pytest.raises(KitError) as told:
            stages.run_all(run.path, again, Engine(1, 1), None, lambda _: None)
        assert told.value.message.startswith(words)
        assert Run.open(run.path).data == data.resolve()  # the run still knows where its data lies
    wrong = call("probs", run.path, "--data", empty)
    assert wrong.exit_code == 1
    assert f"{empty}: holds no file of semeval2025-task11-a in eng" in wrong.output
