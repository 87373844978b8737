"""A fold from its start to done.json; kills at any moment change no byte of what it leaves."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semeval_kit.errors import KitError
from semeval_kit.files import write_kept
from semeval_kit.probs import read_probs
from semeval_kit.run import stages
from semeval_kit.run.directory import Run
from semeval_kit.run.members import load_models
from semeval_kit.task.task import load_task, read_task_source
from semeval_kit.training import fold as encoder_fold
from semeval_kit.training import worker
from semeval_kit.training.checkpoint import find_fault
from semeval_kit.training.fold import load_fold, load_model_dir
from semeval_kit.training.targets import read_targets

Event = dict[str, Any]


@pytest.fixture
def prepare(make_plan: Callable[..., Any], tmp_path: Path) -> Callable[..., Run]:
    """Prepare a run of one fold in English; keywords are recipe fields."""

    def make(name: str = "run", *languages: str, **fields: Any) -> Run:
        plan = make_plan(languages or ("eng",), **{"holdout": 0.4, **fields})
        return stages.prepare(tmp_path / name, plan, lambda _: None)

    return make


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_fold_leaves_exactly_this(prepare: Callable[..., Run]) -> None:
    run = prepare()
    events: list[Event] = []
    encoder_fold.train_fold(run, 0, events.append)
    assert files(run.fold_dir(0)) == [
        "SHA256SUMS",
        "done.json",
        "history.jsonl",
        "model/MANIFEST.json",
        "model/config.json",
        "model/head.json",
        "model/head.safetensors",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
        "oof.csv",
    ]
    assert not list(run.fold_dir(0).glob(".*"))
    assert not run.checkpoint_dir(0).exists()
    assert find_fault(run.model_dir(0)) is None
    assert [event["event"] for event in events if event["event"] != "step"] == [
        "epoch",
        "epoch",
        "done",
    ]


def test_done_says_what_was_done(prepare: Callable[..., Run]) -> None:
    run = prepare(freeze_embeddings=True)
    encoder_fold.train_fold(run, 0, lambda _: None)
    done, history = run.read_done(0), run.read_history(0)
    assert done["n_train"] + done["n_valid"] == 32
    assert done["n_valid"] == pytest.approx(0.4 * 32, abs=1)
    assert done["epochs"] == len(history) == 2
    assert [row["epoch"] for row in history] == [1, 2]
    best = max(history, key=lambda row: row["macro_f1"])
    assert done["best_epoch"] == best["epoch"]
    assert set(history[0]) == {
        "epoch",
        "train_loss",
        "lr",
        "seconds",
        "rows_per_second",
        "peak_rss_mb",
        "val_loss",
        "macro_f1",
        "micro_f1",
        "weighted_f1",
        "subset_accuracy",
    }
    assert done["oof_sha256"] == digest(run.oof_file(0))
    assert (done["threads"], done["processes"], done["precision"]) == (1, 1, "fp32")
    dropouts = {name: done[f"{name}_dropout"] for name in ("hidden", "attention", "head")}
    assert (done["peak_lr"], dropouts) == (5e-3, {"hidden": 0.1, "attention": 0.1, "head": 0.1})
    tables = (92 + 64 + 2) * 32 + 2 * 32  # words, positions, types; the norm
    assert 0 < done["parameters"] - done["trainable_parameters"] <= tables + 1000
    with run.oof_file(0).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "language", *run.task.all_labels]
    held_out = [id_ for (_, id_), fold in run.read_folds().items() if fold == 0]
    assert [row[0] for row in rows] == held_out
    assert all(0 < float(value) < 1 for row in rows for value in row[2:])


def test_the_model_says_its_labels(prepare: Callable[..., Run]) -> None:
    run = prepare()
    encoder_fold.train_fold(run, 0, lambda _: None)
    head = json.loads((run.model_dir(0) / "head.json").read_text(encoding="utf-8"))
    target = {"kind": "multilabel", "names": list(run.task.all_labels), "n_levels": 1}
    target |= {"bounded": True, "weight": 1.0, "auxiliary": False}
    assert head == {"format": 1, "pooling": "mean", "targets": [target]}


def test_the_same_fold_twice_gives_the_same_bytes(prepare: Callable[..., Run]) -> None:
    runs = [prepare(name) for name in ("a", "b")]
    for run in runs:
        encoder_fold.train_fold(run, 0, lambda _: None)
    first, second = runs
    for name in ("oof.csv", "model/model.safetensors", "model/MANIFEST.json"):
        assert digest(first.fold_dir(0) / name) == digest(second.fold_dir(0) / name)


def test_folds_of_a_run_learn_from_the_others(prepare: Callable[..., Run]) -> None:
    run = prepare("run", "eng", "deu", holdout=0.0, folds=2, epochs=1)
    learnt: list[set[str]] = []
    for fold in (0, 1):
        config = encoder_fold.make_recipe(run.recipe, "a test")
        tokenizer = encoder_fold.load_tokenizer(config)
        rows = encoder_fold._split_rows(run, fold, tokenizer, config)
        train, valid, held_out = rows.train, rows.valid, rows.held_out
        assert set(train.names) & set(valid.names) == set()
        assert held_out.ids == valid.names
        learnt.append(set(train.names))
    assert learnt[0] & learnt[1] == set()
    assert len(learnt[0] | learnt[1]) == 64
    english = [row for row, language in enumerate(held_out.languages) if language == "eng"]
    disgust = run.task.all_labels.index("disgust")
    assert np.isnan(valid.targets[english, disgust]).all()


def test_probabilities_of_a_split_are_written(prepare: Callable[..., Run]) -> None:
    run = prepare()
    encoder_fold.train_fold(run, 0, lambda _: None)
    events: list[Event] = []
    worker.predict_fold(run, 0, ["dev", "test"], events.append)
    text = run.fold_probs_file(0, "test").read_text(encoding="utf-8")
    assert text.splitlines()[0] == "id,language,anger,fear,joy,sadness,surprise"
    assert len(text.splitlines()) == 13
    assert len(run.fold_probs_file(0, "dev").read_text(encoding="utf-8").splitlines()) == 11
    assert events[-1] == {"event": "done", "fold": 0}
    assert events[-2] == {"event": "rows", "split": "test", "done": 12, "rows": 12}
    before = run.fold_probs_file(0, "test").stat().st_mtime_ns
    worker.predict_fold(run, 0, ["test"], events.append)
    assert run.fold_probs_file(0, "test").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("semeval2025-task11-a", "macro_f1"),
        ("semeval2025-task11-b", "pearson_r"),
        ("semeval2018-task1-ec", "macro_f1"),
        ("semeval2019-task3", "micro_f1"),
    ],
)
def test_what_is_watched_is_in_the_history(task: str, metric: str) -> None:
    assert encoder_fold.watched_metric(load_task(task)) == metric


def test_the_head_knows_the_kind_of_task() -> None:
    intensity = read_targets(load_task("demo-intensity"))
    assert len(intensity.names) == 15
    assert (intensity.exclusive, intensity.parts[0].n_levels) == (False, 3)
    single = read_targets(load_task("semeval2019-task3"))
    assert single.exclusive
    assert single.config_entries(single.names)["problem_type"] == "single_label_classification"


def test_a_model_that_would_answer_otherwise_is_not_saved(
    prepare: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepare()
    probs = encoder_fold.FoldTrainer.predict
    monkeypatch.setattr(encoder_fold.FoldTrainer, "predict", lambda *a: probs(*a) + 0.01)
    with pytest.raises(KitError, match=r"differs from the trained one by 0\.01"):
        encoder_fold.train_fold(run, 0, lambda _: None)
    assert not run.model_dir(0).exists()
    assert not run.is_done(0)


def test_an_auxiliary_target_is_learnt_and_never_written(
    make_plan: Callable[..., Any], tiny_data: Path, tmp_path: Path
) -> None:
    """Levels of some rows, from a file of their own: the same folds, columns and estimate."""
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    with (data / "track_a" / "train" / "eng.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    levels = [[*row[:2], *(str(int(cell) * 2) for cell in row[2:])] for row in rows[::2]]
    lines = [header, *levels]
    (data / "levels.csv").write_text("".join(",".join(line) + "\n" for line in lines), "utf-8")
    _, text = read_task_source("semeval2025-task11-a")
    text += '[targets.level]\nkind = "intensity"\nauxiliary = true\nfile = "levels.csv"\n'
    (tmp_path / "with-levels.toml").write_text(text, encoding="utf-8")
    runs = {}
    for name, task in (("with", str(tmp_path / "with-levels.toml")), ("without", None)):
        plan = make_plan(("eng",), data=data, **({"task": task} if task else {}))
        runs[name] = stages.prepare(tmp_path / name, plan, lambda _: None)
        for fold in (0, 1):
            encoder_fold.train_fold(runs[name], fold, lambda _: None)
        worker.predict_fold(runs[name], 0, ["test"], lambda _: None)
    assert runs["with"].folds_file.read_bytes() == runs["without"].folds_file.read_bytes()
    assert runs["with"].read_train().label_names == runs["without"].read_train().label_names
    labels = runs["with"].task.all_labels
    assert runs["with"].read_oof().target_names == labels
    assert runs["with"].read_fold_probs(0, "test").target_names == labels
    assert not np.array_equal(runs["with"].read_oof().values, runs["without"].read_oof().values)
    head = load_fold(runs["with"], 0).classifier
    assert head.targets.columns[: len(labels)] == labels
    assert head.targets.columns[len(labels)] == f"level:{labels[0]}>=1"
    assert head.head.out_features == 4 * len(labels)
    taught = runs["with"].read_taught().labels[:, len(labels) :]
    assert np.isnan(taught).all(axis=1).sum() == len(rows) - len(levels)


@pytest.mark.usefixtures("in_process")
def test_several_seeds_are_models_of_the_same_folds_and_their_mean(
    make_plan: Callable[..., Any], tmp_path: Path
) -> None:
    """The first seed's files are those of a run with one; the next seed's those of its own run."""
    runs = {}
    fields = {"both": {"seeds": 2}, "first": {}, "second": {"seed": 1}}
    for name, own in fields.items():
        runs[name] = stages.prepare(tmp_path / name, make_plan(("eng",), **own), lambda _: None)
        if name == "second":  # the folds go by the seed, too
            write_kept(runs[name].folds_file, runs["first"].folds_file.read_bytes())
        said: list[str] = []
        stages.train(runs[name], stages.Engine(threads=1), said.append)
        stages.predict(runs[name], ["test"], stages.Engine(threads=1), said.append)
    both, alone = runs["both"], (runs["first"], runs["second"])
    assert (both.n_folds, both.n_models) == (2, 4)
    assert [both.fold_dir(m).relative_to(both.path).as_posix() for m in range(4)] == [
        "fold-0",
        "fold-1",
        "seed-1/fold-0",
        "seed-1/fold-1",
    ]
    for seed, run in enumerate(alone):
        for fold in (0, 1):
            assert both.oof_file(2 * seed + fold).read_bytes() == run.oof_file(fold).read_bytes()
            assert both.read_done(2 * seed + fold)["seed"] == seed
    mean = (alone[0].read_oof().values + alone[1].read_oof().values) / 2
    np.testing.assert_allclose(both.read_oof().values, mean, atol=1e-12)
    assert not np.allclose(both.read_oof().values, alone[0].read_oof().values)
    parts = [run.read_probs("test", "eng").values for run in alone]
    np.testing.assert_allclose(
        both.read_probs("test", "eng").values, (parts[0] + parts[1]) / 2, atol=2e-6
    )
    models = load_models(both, None, said.append)
    assert (len(models.models), models.words) == (4, "the mean of 4 models")
    # Damage in a further seed is noticed, too.
    path = both.oof_file(3)
    path.write_bytes(path.read_bytes().replace(b"0.", b"0.1", 1))
    with pytest.raises(KitError, match="seed-1/fold-1/oof.csv: is not what was written"):
        Run.open(both.path).read_oof()


PAIRS_TASK = """
name = "made-pairs"
title = "made up"
kind = "singlelabel"
train_languages = ["eng"]
predict_languages = ["eng"]
[labels]
default = ["SAME", "FORWARD", "BACKWARD"]
[rules]
reversal = { FORWARD = "BACKWARD", BACKWARD = "FORWARD", SAME = "SAME" }
[data]
label_layout = "name"
text_columns = ["one"]
pair = "two"
[data.files]
train = ["train.csv"]
test = ["test.csv"]
[submission]
label_layout = "name"
[scoring]
metrics = ["macro_f1"]
languages = ["eng"]
"""


@pytest.mark.parametrize("pairs", ["together", "apart"])
def test_pairs_are_learnt_both_ways_and_both_ways_agree(
    make_plan: Callable[..., Any], tmp_path: Path, pairs: str
) -> None:
    (tmp_path / "task.toml").write_text(PAIRS_TASK, encoding="utf-8")
    # Every word with every other of its set: pairs that share a text are in one fold.
    words = ("grumo", "wondi", "tremba", "mourno", "zappo"), ("yucho", "fristo", "lirela", "bara")
    labels = ("SAME", "FORWARD", "BACKWARD")
    rows = [
        (a, b, labels[(i + j) % 3])
        for known in words
        for i, a in enumerate(known)
        for j, b in enumerate(known)
    ]
    rows = [row for row in rows if row[0] < row[1]] + [("zappo", "grumo", "FORWARD")]
    train = "".join(f"r{n},{a},{b},{label}\n" for n, (a, b, label) in enumerate(rows))
    (tmp_path / "train.csv").write_text("id,one,two,label\n" + train, encoding="utf-8")
    test = "id,one,two\nt1,grumo,wondi\nt2,wondi,grumo\n"
    (tmp_path / "test.csv").write_text(test, encoding="utf-8")
    fields = {"task": str(tmp_path / "task.toml"), "data": tmp_path, "pairs": pairs, "epochs": 1}
    run = stages.prepare(tmp_path / "run", make_plan(("eng",), **fields), lambda _: None)
    recipe = encoder_fold.make_recipe(run.recipe, "a test")
    folded = encoder_fold._split_rows(run, 0, encoder_fold.load_tokenizer(recipe), recipe)
    n_learnt = len(rows) - len(folded.held_out)
    # Of the pair that is there both ways no row is added.
    both = sum(
        run.read_folds()["eng", f"r{n}"] != 0
        for n, row in enumerate(rows)
        if set(row[:2]) == {"grumo", "zappo"}
    )
    assert len(folded.train.names) == 2 * n_learnt - both
    first, copy = 0, folded.train.names.index(folded.train.names[0], 1)
    assert folded.train.targets[copy].tolist() == folded.train.targets[first][[0, 2, 1]].tolist()
    ids, seconds = folded.train.tokens.ids, folded.train.tokens.seconds
    if pairs == "apart":
        assert (ids[copy], seconds[copy]) == (seconds[first], ids[first])
    else:
        assert ids[copy] == [ids[first][place] for place in (0, 3, 2, 1, 4)]
    encoder_fold.train_fold(run, 0, lambda _: None)
    assert run.read_done(0)["n_train"] == n_learnt
    worker.predict_fold(run, 0, ["test"], lambda _: None)
    one, other = run.read_fold_probs(0, "test").values
    np.testing.assert_allclose(one, other[[0, 2, 1]], atol=2e-6)
    assert one[1] != one[2]
    model = load_fold(run, 0)
    held = folded.held_out
    np.testing.assert_allclose(
        model.probs(held.texts, pairs=held.pairs), read_probs(run.oof_file(0)).values, atol=2e-6
    )


def test_leftovers_of_a_kill_are_removed(prepare: Callable[..., Run]) -> None:
    run = prepare()
    for name in (".model.17.tmp", ".checkpoint.removed-17"):
        (run.fold_dir(0) / name).mkdir(parents=True)
        (run.fold_dir(0) / name / "big").write_bytes(b"x")
    (run.fold_dir(0) / ".oof.csv.17.tmp").write_bytes(b"x")
    with worker.lock_fold(run, 0):
        # Only what says who is at work.
        assert list(run.fold_dir(0).iterdir()) == [run.state_file(0)]


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from semeval_kit.run.directory import Run
from semeval_kit.training import checkpoint
from semeval_kit.training import fold as encoder_fold
from semeval_kit.training import worker

path, n_kills, seed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
draw = random.Random(seed)
folder = Run(path).fold_dir(0)

def attempt(wait):
    child = os.fork()
    if child == 0:
        run = Run.open(path)
        with worker.lock_fold(run, 0):
            encoder_fold.train_fold(run, 0, lambda event: None)
        os._exit(0)
    wait()
    os.kill(child, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

def newest():
    return max((p.name for p in folder.glob("checkpoint/epoch-*")), default="")

def after_a_while():
    # By progress, not by the clock: a fast machine would else be done before it is killed.
    start, give_up = newest(), time.monotonic() + 20
    while newest() <= start and time.monotonic() < give_up:
        time.sleep(0.001)
    time.sleep(draw.uniform(0, 0.06))

def in_the_middle_of_saving():
    start = len(list((folder / "checkpoint").glob("epoch-*")))
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        if list(folder.glob("checkpoint/.*.tmp")) or list(folder.glob(".model.*.tmp")):
            time.sleep(draw.uniform(0, 0.003))
            return

killed = saving = 0
while killed < n_kills and not Run(path).is_done(0):
    in_save = killed % 2 == 1
    if not attempt(in_the_middle_of_saving if in_save else after_a_while):
        break
    killed += 1
    saving += bool(list(folder.glob("checkpoint/.*.tmp")) or list(folder.glob(".*.tmp")))
if not Run(path).is_done(0):
    child = os.fork()
    if child == 0:
        run = Run.open(path)
        with worker.lock_fold(run, 0):
            encoder_fold.train_fold(run, 0, lambda event: None)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print(killed, saving)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has imported torch")
def test_kills_at_any_moment_change_no_byte(prepare: Callable[..., Run]) -> None:
    whole = prepare("whole", epochs=25, patience=0)
    encoder_fold.train_fold(whole, 0, lambda _: None)
    killed = prepare("killed", epochs=25, patience=0)
    command = [sys.executable, "-c", KILLER, str(killed.path), "12", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    n_killed, n_saving = map(int, done.stdout.split())
    assert n_killed >= 6
    assert n_saving >= 1
    for name in ("oof.csv", "model/model.safetensors", "model/MANIFEST.json"):
        assert digest(killed.fold_dir(0) / name) == digest(whole.fold_dir(0) / name)
    assert files(killed.fold_dir(0)) == files(whole.fold_dir(0))
    assert not list(killed.fold_dir(0).glob(".*"))


def test_texts_apart_need_pairs(prepare: Callable[..., Run]) -> None:
    with pytest.raises(KitError, match="pairs = 'apart', but task .* has one text per row"):
        prepare(pairs="apart")


def read_texts(run: Run) -> dict[str, str]:
    examples = run.read_train()
    return dict(zip(examples.ids, examples.texts, strict=True))


def test_a_fold_gives_the_out_of_fold_probabilities(trained_run: Path) -> None:
    run = Run.open(trained_run)
    texts = read_texts(run)
    model = load_fold(run, 1)
    oof = run.read_oof()
    fold_of = run.read_folds()
    rows = [row for row, key in enumerate(zip(oof.languages, oof.ids)) if fold_of[key] == 1]  # noqa: B905
    told: list[int] = []
    found = model.probs([texts[oof.ids[row]] for row in rows], told.append)
    assert np.abs(found - oof.values[rows]).max() < 1e-5
    assert model.target_names == oof.target_names
    assert told[-1] == len(rows)


def test_test_probabilities_are_the_mean_over_the_folds(trained_run: Path) -> None:
    run = Run.open(trained_run)
    examples = run.read_split("test")
    mean = sum(load_fold(run, fold).probs(examples.texts) for fold in (0, 1)) / 2
    for language in run.languages:
        rows = np.flatnonzero(np.asarray(examples.languages) == language)
        found = run.read_probs("test", language)
        assert found.ids == tuple(examples.ids[row] for row in rows)
        assert found.values == pytest.approx(mean[rows], abs=1e-6)


def test_long_texts_are_cut(trained_run: Path) -> None:
    model = load_fold(Run.open(trained_run), 0)
    long = "bara " * 3_000
    assert model.probs([long]).tolist() == model.probs([long + "grumo"]).tolist()


def test_a_damaged_model_is_refused(trained_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(Run.open(trained_run).model_dir(0), folder)
    load_model_dir(folder, 48)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(KitError, match=r"model\.safetensors is damaged.*Remove the fold's folder"):
        load_model_dir(folder, 48)
    path.unlink()
    with pytest.raises(KitError, match=r"model\.safetensors is missing"):
        load_model_dir(folder, 48)


def test_a_fold_that_is_not_finished_is_refused(trained_run: Path) -> None:
    with pytest.raises(KitError, match="fold 7 is not finished"):
        load_fold(Run.open(trained_run), 7)
