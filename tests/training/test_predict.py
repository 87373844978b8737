"""A fold's model: loads in plain transformers, and gives the probabilities of oof.csv."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.training.predict import load_fold, load_model_dir, predict_texts

WITHOUT_THE_KIT = """
import json, sys
from transformers import pipeline
folder, texts, answers = sys.argv[1:]
ask = pipeline("text-classification", model=folder, top_k=None)
found = ask(json.load(open(texts, encoding="utf-8")), batch_size=5)
assert not [name for name in sys.modules if name.startswith("semeval_kit")]
json.dump(found, open(answers, "w", encoding="utf-8"))
"""


def read_texts(run: Run) -> dict[str, str]:
    examples = run.read_train()
    return dict(zip(examples.ids, examples.texts, strict=True))


@pytest.mark.slow
def test_the_pipeline_of_transformers_gives_the_out_of_fold_probabilities(
    trained_run: Path, tmp_path: Path
) -> None:
    run = Run.open(trained_run)
    with run.oof_file(0).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = read_texts(run)
    asked, answers = tmp_path / "texts.json", tmp_path / "answers.json"
    asked.write_text(json.dumps([texts[row["id"]] for row in rows]), encoding="utf-8")
    # A bare interpreter in another folder: nothing of the kit is on its path but by installation.
    command = [sys.executable, "-c", WITHOUT_THE_KIT, str(run.model_dir(0)), asked, answers]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, timeout=120)
    found = json.loads(answers.read_text(encoding="utf-8"))
    assert len(found) == len(rows) > 20
    worst = 0.0
    for row, answer in zip(rows, found, strict=True):
        scores = {item["label"]: item["score"] for item in answer}
        assert set(scores) == set(run.task.all_labels)
        worst = max(worst, *(abs(scores[name] - float(row[name])) for name in scores))
    assert worst < 1e-4


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


def test_texts_get_the_mean_over_the_folds(trained_run: Path) -> None:
    run = Run.open(trained_run)
    texts = ["wondi bara", "grumo fristo rakka", ""]
    mean = predict_texts(run, texts)
    each = [predict_texts(run, texts, [fold]) for fold in (0, 1)]
    assert mean.ids == ("1", "2", "3")
    assert mean.languages == ("eng",) * 3
    assert mean.values == pytest.approx((each[0].values + each[1].values) / 2, abs=1e-15)
    assert not np.allclose(each[0].values, each[1].values)
    with pytest.raises(KitError, match="give at least one"):
        predict_texts(run, texts, [])


def test_test_probabilities_are_the_mean_over_the_folds(trained_run: Path) -> None:
    run = Run.open(trained_run)
    examples = run.read_split("test")
    mean = predict_texts(run, examples.texts)
    for language in run.languages:
        rows = np.flatnonzero(np.asarray(examples.languages) == language)
        found = run.read_probs("test", language)
        assert found.ids == tuple(examples.ids[row] for row in rows)
        assert found.values == pytest.approx(mean.values[rows], abs=1e-6)


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
