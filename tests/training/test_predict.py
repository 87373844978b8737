"""A fold's model gives the probabilities of oof.csv, and a damaged one is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.training.predict import load_fold, load_model_dir


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
