"""A linear run: all stages without an encoder, stored without pickle, the same bytes again."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semeval_kit.errors import KitError
from semeval_kit.probs import read_probs
from semeval_kit.run import stages
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import Engine
from semeval_kit.training import linear
from semeval_kit.training.features import PAIR, Ngrams
from semeval_kit.training.regression import fit_heads

ENGINE = Engine(jobs=1, threads=1)
TEXTS = ["Caf\u00e9 now!", "cafe NOW", "caf\u00e9 later", "Cafe\u0301 later \U0001f600"]
TEXTS.append("\U0001f600")


@pytest.fixture
def finish(
    make_plan: Callable[..., Any], tiny_data: Path, tmp_path: Path, in_process: list[Any]
) -> Callable[..., Run]:
    """Do all stages of a linear run; keywords as for `make_plan`."""

    def make(name: str = "run", *languages: str, **given: Any) -> Run:
        plan = make_plan(languages or ("eng", "deu"), encoder="tfidf", **given)
        gold = tiny_data / "gold" if plan.data == tiny_data else None
        return stages.run_all(tmp_path / name, plan, ENGINE, gold, lambda _: None)

    return make


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        and p.name not in ("run.json", "done.json", "SHA256SUMS")
        and p.suffix != ".zip"
    }


def test_a_linear_run_learns_and_packs(finish: Callable[..., Run]) -> None:
    run = finish()
    assert run.member == "linear"
    assert set(run.recipe) == {"encoder", "folds", "holdout", "holdout_split", "seed"}
    score = json.loads(run.score_file.read_text(encoding="utf-8"))
    assert score["accepted"] is True
    assert run.zip_file.is_file()
    done = run.read_done(0)
    assert done["n_train"] + done["n_valid"] == 64
    assert done["oof_sha256"] == hashlib.sha256(run.oof_file(0).read_bytes()).hexdigest()
    files = sorted(p.name for p in run.model_dir(0).iterdir())
    assert files == ["SHA256SUMS", "model.json", "model.safetensors"]


def test_each_language_has_its_own_model_and_labels(finish: Callable[..., Run]) -> None:
    run = finish()
    model = linear.load_fold(run, 0)
    assert model.languages == ("eng", "deu")
    english = run.read_probs("test", "eng")
    disgust = english.target_names.index("disgust")
    assert (english.values[:, disgust] < 1e-12).all()  # English has no such label
    with pytest.raises(KitError, match="one model per language and none is named"):
        model.probs(["wondi"])
    with pytest.raises(KitError, match="'fra' has none"):
        model.probs(["wondi"], languages=["fra"])


def test_a_stored_model_gives_the_probabilities_of_its_files(finish: Callable[..., Run]) -> None:
    run = finish()
    oof = read_probs(run.oof_file(1))
    texts = dict(zip(run.read_train().ids, run.read_train().texts, strict=True))
    found = linear.load_fold(run, 1).probs([texts[i] for i in oof.ids], languages=oof.languages)
    np.testing.assert_array_equal(found, oof.values)


def test_the_same_run_gives_the_same_bytes(finish: Callable[..., Run]) -> None:
    assert digests(finish("one", "eng").path) == digests(finish("two", "eng").path)


def test_a_language_that_is_not_learnt_from_is_predicted_by_all_others(
    finish: Callable[..., Run],
) -> None:
    run = finish("run", "eng", train_languages=("deu",))
    model = linear.load_fold(run, 0)
    assert model.languages == ("deu",)
    assert np.isfinite(model.probs(["wondi bara"], languages=["eng"])).all()
    assert len(run.read_probs("test", "eng")) == 12


def test_a_model_that_was_changed_is_refused(finish: Callable[..., Run]) -> None:
    run = finish("run", "eng")
    path = run.model_dir(0) / "model.json"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(KitError, match="is not what was written"):
        linear.load_fold(run, 0)


def test_levels_are_learnt_as_events(finish: Callable[..., Run]) -> None:
    data = Path(__file__).parents[2] / "data"
    run = finish("run", "eng", task="demo-intensity", data=data)
    assert run.read_oof().target_names[:3] == ("anger>=1", "anger>=2", "anger>=3")
    estimate = json.loads(run.estimate_file.read_text(encoding="utf-8"))
    assert estimate["metric"] == "pearson_r"
    assert estimate["cross_fitted"]["score"] > 0.2


def test_a_linear_fold_imports_no_torch(finish: Callable[..., Run]) -> None:
    run = finish("run", "eng", holdout=0.4)
    run.done_file(0).unlink()
    code = (
        "import sys; from semeval_kit.training import worker; "
        f"sys.argv = ['worker', 'train', {str(run.path)!r}, '0']; worker.main(); "
        "assert 'torch' not in sys.modules, 'torch'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert run.is_done(0)


def test_case_is_folded_and_accents_are_kept() -> None:
    terms = Ngrams.fit(TEXTS)[0].pack()[0]
    assert "caf\u00e9" in terms["word"]  # composed or not, it is one word
    assert "now" in terms["word"]
    assert "NOW" not in terms["word"]
    assert "cafe" not in terms["word"]  # it occurs in one text only
    assert "caf\u00e9 later" in terms["word"]
    assert "\U0001f600" in terms["word"]
    assert " caf\u00e9" in terms["char"]
    assert not [term for term in terms["char"] if " " in term.strip()]


def test_both_blocks_of_a_row_have_unit_length() -> None:
    features, matrix = Ngrams.fit(TEXTS)
    n_words = len(features.pack()[0]["word"])
    for block in (matrix[:, :n_words], matrix[:, n_words:]):
        np.testing.assert_allclose(np.sqrt(block.multiply(block).sum(axis=1)), 1.0)


def test_stored_features_are_the_same_features() -> None:
    features, matrix = Ngrams.fit(TEXTS)
    terms, weights = features.pack()
    again = Ngrams.unpack(json.loads(json.dumps(terms)), weights)
    assert (again.transform(TEXTS) != features.transform(TEXTS)).nnz == 0
    assert abs(again.transform(TEXTS) - matrix).max() < 1e-15
    assert again.transform(["\u0416"]).nnz == 1  # the blank around it


def test_pairs_begin_with_how_their_texts_agree() -> None:
    pairs = [("a cat sat", "a cat sat"), ("a cat sat", "the cat ran off"), ("dogs", "a cat")]
    texts = [PAIR.join(pair) for pair in pairs]
    features, matrix = Ngrams.fit(texts)
    assert features.n_agreeing == 6
    mean, spread = features.pack()[1]["agreement"]
    agreement = matrix[:, :6].toarray() * spread + mean
    # equal texts have cosines of 1 in words and in characters; texts without a common word, 0
    np.testing.assert_allclose(agreement[0, :2], 1.0)
    np.testing.assert_allclose(agreement[2, 0], 0.0, atol=1e-12)
    # Jaccard, overlap, log-lengths apart, log of the shorter length
    np.testing.assert_allclose(agreement[1, 2:4], [1 / 6, 1 / 3])
    np.testing.assert_allclose(agreement[1, 4:], [np.log(16 / 10), np.log(10)])
    # each side has the terms for itself: swapped texts are other rows that agree alike
    swapped = features.transform([PAIR.join(pair[::-1]) for pair in pairs])
    np.testing.assert_allclose(swapped[:, :6].toarray(), matrix[:, :6].toarray(), atol=1e-12)
    n_terms = (matrix.shape[1] - 6) // 2
    assert abs(swapped[:, 6 : 6 + n_terms] - matrix[:, 6 + n_terms :]).max() < 1e-15
    terms, weights = features.pack()
    again = Ngrams.unpack(json.loads(json.dumps(terms)), weights)
    assert abs(again.transform(texts) - matrix).max() < 1e-15
    assert again.n_agreeing == 6


def test_texts_without_a_term_have_no_features() -> None:
    features, matrix = Ngrams.fit(["", " "])
    assert matrix.shape == (2, 0)
    assert features.transform(["word"]).shape == (1, 0)


def test_a_kernel_over_pairs_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    words = ["wondi", "bara", "mourno", "kira", "dora", "tesk", "olmi"]
    halves = [[" ".join(draw.choice(words, 4)) for _ in range(2)] for _ in range(60)]
    told = np.array([[len({*a.split()} & {*b.split()}) / 4] for a, b in halves])
    texts = [PAIR.join(pair) for pair in halves]
    features, matrix = Ngrams.fit(texts)
    kinds = [("regression", slice(0, 1))]
    heads = fit_heads(matrix, told, kinds, range(60), 0, features.n_agreeing)
    model = linear.LinearModel(["score"], {linear.JOINT: (features, heads)})
    model.save(tmp_path / "model")
    again = linear.LinearModel.load(tmp_path / "model")
    np.testing.assert_array_equal(again.probs(texts), model.probs(texts))
    assert np.corrcoef(model.probs(texts)[:, 0], told[:, 0])[0, 1] > 0.9
    assert model.n_weights > matrix.shape[1] + 60
