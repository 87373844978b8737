"""Extra rows: taught to every fold, never judged, never a text of the fold held out or of test."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semeval_kit.data.extra import read_extra, write_soft
from semeval_kit.data.texts import normalize_text
from semeval_kit.errors import KitError
from semeval_kit.run import stages
from semeval_kit.run.directory import Run
from semeval_kit.task.task import load_task
from semeval_kit.training.head import TargetLoss
from semeval_kit.training.targets import Target, Targets

MULTI = Targets((Target("multilabel", ("a", "b", "c")),))
SINGLE = Targets((Target("singlelabel", ("a", "b", "c")),))


def write_extra(path: Path, texts: list[str]) -> Path:
    rows = [
        f"extra-{number},{text},{number % 2},0,1,{(number + 1) % 2},0"
        for number, text in enumerate(texts)
    ]
    head = "id,text,anger,fear,joy,sadness,surprise"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def prepare(make_plan: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[Run, str]]:
    def make(name: str, languages: tuple[str, ...] = ("eng",), **fields: Any) -> tuple[Run, str]:
        said: list[str] = []
        run = stages.prepare(tmp_path / name, make_plan(languages, **fields), said.append)
        return run, "\n".join(said)

    return make


@pytest.mark.trains
def test_extra_rows_are_learnt_by_every_fold_and_judged_by_none(
    prepare: Callable[..., tuple[Run, str]], tmp_path: Path, in_process: list[dict[str, Any]]
) -> None:
    plain, _ = prepare("plain")
    own = plain.read_train()
    held = plain.read_folds()[("eng", own.ids[0])]
    # One of the texts is a training row's: the fold that is judged on that row does not learn it.
    path = write_extra(tmp_path / "more.csv", ["new one", "new two", own.texts[0].upper()])
    run, said = prepare("extra", extra=(str(path),), extra_weight=0.5)
    assert "3 extra rows, which every fold learns from; weight 0.5" in said
    for each in (plain, run):
        stages.train(each, stages.Engine(threads=1), lambda _: None)
    assert run.read_folds() == plain.read_folds()
    assert run.read_oof().ids == plain.read_oof().ids
    assert not np.array_equal(run.read_oof().values, plain.read_oof().values)
    for fold in range(run.n_folds):
        done = run.read_done(fold)
        assert done["n_extra"] == (2 if fold == held else 3)
        assert (done["n_train"], done["n_valid"]) == (
            plain.read_done(fold)["n_train"],
            plain.read_done(fold)["n_valid"],
        )
        assert "n_extra" not in plain.read_done(fold)


def test_texts_of_test_are_learnt_only_if_asked_for(
    prepare: Callable[..., tuple[Run, str]], tmp_path: Path
) -> None:
    test = prepare("plain")[0].read_split("test")
    path = write_extra(tmp_path / "more.csv", ["new one", f"  {test.texts[2]} "])
    run, said = prepare("careful", extra=(str(path),))
    assert "1 extra row is left out: its text is in test" in said
    extra = run.read_extra()
    assert extra is not None
    assert extra.examples.texts == ("new one",)
    run, said = prepare("bold", extra=(str(path),), transductive=True)
    extra = run.read_extra()
    assert extra is not None
    assert [normalize_text(text) for text in extra.examples.texts] == [
        "new one",
        normalize_text(test.texts[2]),
    ]
    assert "left out" not in said
    only = write_extra(tmp_path / "only.csv", [test.texts[0]])
    with pytest.raises(KitError, match="no extra row is left"):
        prepare("none", extra=(str(only),))


def test_files_of_a_language_with_other_labels_may_be_learnt_from(
    prepare: Callable[..., tuple[Run, str]], tiny_data: Path, tmp_path: Path
) -> None:
    of_eng, of_deu = (tiny_data / "track_a" / "train" / f"{code}.csv" for code in ("eng", "deu"))
    run, said = prepare("german", ("deu",), extra=(str(of_eng),))
    extra = run.read_extra()
    assert extra is not None
    assert f"{of_eng}: labels of another language: without disgust, which count as not" in said
    unknown = np.isnan(extra.targets)
    names = run.task.label_names
    assert [names[i] for i in np.flatnonzero(unknown.all(axis=0))] == ["disgust"]
    assert not unknown[:, [name != "disgust" for name in names]].any()
    run, said = prepare("english", ("eng",), extra=(str(of_deu),))
    extra = run.read_extra()
    assert extra is not None
    assert f"{of_deu}: labels of another language: disgust left out" in said
    assert extra.targets.shape[1] == len(run.task.label_names) == 5
    none = tmp_path / "none.csv"
    none.write_text("id,text\nx,a text\n", encoding="utf-8")
    with pytest.raises(KitError, match="column 'anger' is missing"):
        prepare("none", ("eng",), extra=(str(none),))


def test_extra_rows_are_known_by_their_bytes(
    prepare: Callable[..., tuple[Run, str]], tmp_path: Path
) -> None:
    path = write_extra(tmp_path / "more.csv", ["new one"])
    run, _ = prepare("run", extra=(str(path),))
    run.extra_file.write_bytes(run.extra_file.read_bytes().replace(b"new one", b"new two"))
    with pytest.raises(KitError, match=r"extra\.json: is not what was written"):
        Run.open(run.path).read_extra()
    (run.path / "fold-0").mkdir()
    (run.path / "fold-0" / "checkpoint").mkdir()
    write_extra(path, ["new three"])
    with pytest.raises(KitError, match=r"extra_sha256\.more\.csv"):
        prepare("run", extra=(str(path),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.25", "1.25"), r"row 1: 'anger' is '1.25'; expected 0 to 1, or blank"),
        (("0.25", "much"), r"row 1: 'anger' is 'much'; expected 0 to 1, or blank"),
        (("0.25", "nan"), r"row 1: 'anger' is 'nan'; expected 0 to 1, or blank"),
        (("0.25", "inf"), r"row 1: 'anger' is 'inf'; expected 0 to 1, or blank"),
        (("eng,", "xyz,"), r"soft\.csv: language 'xyz' is not learnt from"),
    ],
)
def test_soft_labels_that_cannot_be_are_refused(
    change: tuple[str, str],
    message: str,
    prepare: Callable[..., tuple[Run, str]],
    tmp_path: Path,
) -> None:
    run, _ = prepare("run")
    rows = run.read_split("test").take([0, 1])
    probs = np.full((2, len(run.read_train().label_names)), 0.25)
    text = write_soft(run.task, rows, probs)
    path = tmp_path / "soft.csv"
    path.write_text(text, encoding="utf-8")
    read = read_extra(run.learnt_task, [str(path)], ("eng",))
    assert np.array_equal(read.targets, probs)
    assert read.examples.texts == rows.texts
    path.write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(KitError, match=message):
        read_extra(run.learnt_task, [str(path)], ("eng",))
    with pytest.raises(KitError, match=r"none\.csv': no such file"):
        read_extra(run.learnt_task, [str(tmp_path / "none.csv")], ("eng",))


def test_soft_labels_of_pairs_need_their_pair(tmp_path: Path) -> None:
    task = load_task("semeval2024-task1-a")
    path = tmp_path / "soft.csv"
    path.write_text("language,id,text,Score\neng,1,one,0.5\n", encoding="utf-8")
    with pytest.raises(KitError, match=r"soft\.csv: has no column 'pair'"):
        read_extra(task, [str(path)], ("eng",))
    path.write_text("language,id,text,pair,Score\neng,1,one,two,0.5\n", encoding="utf-8")
    assert read_extra(task, [str(path)], ("eng",)).examples.pairs == ("two",)


def test_a_file_of_several_languages_must_say_which(
    prepare: Callable[..., tuple[Run, str]], tmp_path: Path
) -> None:
    path = write_extra(tmp_path / "more.csv", ["new one"])
    with pytest.raises(KitError, match=r"of which language are its rows\? eng, deu"):
        prepare("both", ("eng", "deu"), extra=(str(path),))
    path.rename(tmp_path / "eng.csv")
    run, _ = prepare("named", ("eng", "deu"), extra=(str(tmp_path / "{lang}.csv"),))
    extra = run.read_extra()
    assert extra is not None
    assert extra.examples.languages == ("eng",)
    with pytest.raises(KitError, match="extra rows are learnt by encoders only"):
        prepare("words", encoder="tfidf", extra=(str(tmp_path / "eng.csv"),))


@pytest.mark.trains
def test_pseudo_labels_of_a_run_are_learnt_by_another(
    prepare: Callable[..., tuple[Run, str]], tmp_path: Path, in_process: list[dict[str, Any]]
) -> None:
    teacher, _ = prepare("teacher")
    stages.train(teacher, stages.Engine(threads=1), lambda _: None)
    stages.predict(teacher, ["test"], stages.Engine(threads=1), lambda _: None)
    text, n_rows, n_all = stages.spell_soft_labels(teacher, "test")
    probs = teacher.read_probs("test", "eng")
    assert n_rows == n_all == len(probs)
    table = list(csv.DictReader(io.StringIO(text)))
    assert [float(row[probs.target_names[0]]) for row in table] == probs.values[:, 0].tolist()
    certain = np.maximum(probs.values, 1 - probs.values).min(axis=1)
    limit = float(np.median(certain))
    assert stages.spell_soft_labels(teacher, "test", limit)[1] == int((certain >= limit).sum())
    with pytest.raises(KitError, match=r"no row of test is 1 certain; the most certain one is 0\."):
        stages.spell_soft_labels(teacher, "test", 1.0)
    path = tmp_path / "soft.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KitError, match="no extra row is left"):
        prepare("careful", extra=(str(path),))
    student, _ = prepare("student", extra=(str(path),), transductive=True)
    stages.train(student, stages.Engine(threads=1), lambda _: None)
    assert student.read_done(0)["n_extra"] == n_all
    notes = stages.tune(student, lambda _: None)["notes"]
    assert notes[-1] == (
        f"Every fold also learnt up to {n_all} extra rows, {n_all} with soft labels. If soft "
        "labels come from models that have learnt this task's rows, what is scored out of fold is "
        "too high. Texts of dev and test may be among the extra rows (transductive learning)."
    )


@pytest.mark.parametrize("targets", [MULTI, SINGLE])
def test_a_row_that_weighs_two_counts_as_two_rows(
    targets: Targets, make_trainer: Callable[..., Any], make_rows: Callable[..., Any]
) -> None:
    """One step on rows of weights 1 and 2 is one step on them with the heavy ones there twice."""
    from dataclasses import replace

    fields = {"exclusive": targets is SINGLE, "rdrop": 0.0, "max_grad_norm": 0.0}
    fields |= {"hidden_dropout": 0.0, "attention_dropout": 0.0, "head_dropout": 0.0}
    rows = make_rows(6)
    if targets is SINGLE:
        rows = replace(rows, targets=np.eye(rows.targets.shape[1])[np.arange(6) % 3])
    weighed = replace(rows, weights=np.array([1.0, 1, 1, 1, 2, 2]))
    doubled = rows + rows.take([4, 5])
    heads = []
    for taught in (weighed, doubled):
        trainer = make_trainer(batch_size=8, epochs=1, select_by="last", **fields)
        progress = trainer.fit(taught, rows, Path("none"), {}, "macro_f1")
        heads.append((progress.history[0]["train_loss"], trainer.classifier.head.weight.detach()))
    assert heads[0][0] == pytest.approx(heads[1][0], rel=1e-5)
    # Adam's first step is a sign: gradients near 0 may differ in it by rounding alone.
    assert float((heads[0][1] - heads[1][1]).abs().median()) < 1e-5


def test_positive_weights_are_those_of_a_rows_language() -> None:
    draw = np.random.default_rng(0)
    gold = (draw.random((60, 3)) < 0.3).astype(float)
    blocks = np.repeat([0, 1], [40, 20])
    logits = torch.tensor(draw.normal(size=(60, 3)), dtype=torch.float32)
    targets = torch.tensor(gold, dtype=torch.float32)
    whole = TargetLoss(MULTI, gold, "balanced", blocks=blocks)
    parts = [
        TargetLoss(MULTI, gold[blocks == block], "balanced").sum_terms(
            logits[blocks == block], targets[blocks == block]
        )
        for block in (0, 1)
    ]
    together = whole.sum_terms(logits, targets, torch.tensor(blocks))
    assert float(together) == pytest.approx(float(parts[0] + parts[1]), rel=1e-5)
    alone = TargetLoss(MULTI, gold, "balanced").sum_terms(logits, targets)
    assert float(together) != pytest.approx(float(alone), rel=1e-3)


@pytest.mark.trains
def test_refold_gives_each_seed_folds_of_its_own(
    prepare: Callable[..., tuple[Run, str]], in_process: list[dict[str, Any]]
) -> None:
    run, _ = prepare("refold", seeds=2, refold=True)
    first, second = run.read_folds(0), run.read_folds(1)
    assert list(first) == list(second)
    assert list(first.values()) != list(second.values())
    assert list(second.values()) == list(prepare("seed-1", seed=1)[0].read_folds().values())
    # While no fold has begun the run may be made anew.
    run, said = prepare("refold", seeds=2, refold=True, epochs=1)
    assert "no fold has begun" in said
    stages.train(run, stages.Engine(threads=1), lambda _: None)
    for model in range(4):
        seed, fold = divmod(model, 2)
        held_out = {id_ for (_, id_), number in run.read_folds(seed).items() if number == fold}
        table = csv.DictReader(run.oof_file(model).open(encoding="utf-8"))
        assert {row["id"] for row in table} == held_out
    assert run.read_oof().ids == tuple(i for _, i in first)
    held_out, _ = prepare("held-out", seeds=2, refold=True, holdout=0.2)
    assert held_out.read_folds(1) == held_out.read_folds(0)
    assert not held_out.seed_dir(1).exists()
