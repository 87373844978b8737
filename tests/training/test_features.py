"""A frozen encoder's features: means of tokens, computed once, the same whoever asks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from semeval_kit.errors import KitError
from semeval_kit.probs import read_probs
from semeval_kit.run import stages
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import Engine
from semeval_kit.training import linear
from semeval_kit.training.features import PAIR, FrozenReader, Scaled

TEXTS = ["wondi bara", "mourno", "wondi bara dora kira"]


@pytest.fixture
def reader(tiny_bert: Path, tmp_path: Path) -> FrozenReader:
    return FrozenReader(f"frozen:{tiny_bert}", "", 32, tmp_path / "features")


def test_features_are_the_means_of_two_layers(reader: FrozenReader) -> None:
    values = reader.read(TEXTS)
    tokenizer, model = reader.loaded
    one = tokenizer(TEXTS[2], return_tensors="pt")
    with torch.no_grad():
        layers = model(**one, output_hidden_states=True).hidden_states
    expected = torch.cat([layers[2][0].mean(dim=0), layers[1][0].mean(dim=0)])
    np.testing.assert_allclose(values[2], expected.numpy(), atol=1e-5)
    assert values.shape == (3, 64)


def test_a_text_is_computed_once(reader: FrozenReader, monkeypatch: pytest.MonkeyPatch) -> None:
    values = reader.read(TEXTS)
    asked: list[str] = []
    compute = FrozenReader._compute

    def watch(self: FrozenReader, texts: list[str], tell: Any) -> Any:
        asked.extend(texts)
        return compute(self, texts, tell)

    monkeypatch.setattr(FrozenReader, "_compute", watch)
    again = reader.read([*TEXTS, "zappo"])
    assert asked == ["zappo"]
    np.testing.assert_array_equal(again[:3], values)


def test_short_memory_cuts_what_is_read_at_once(
    reader: FrozenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = reader.loaded
    forward, read = model.forward, []

    def limited(input_ids: torch.Tensor, **inputs: Any) -> Any:
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError
        read.append(len(input_ids))
        return forward(input_ids, **inputs)

    whole = FrozenReader(reader.encoder, "", 32, None).read(TEXTS)
    monkeypatch.setattr(model, "forward", limited)
    np.testing.assert_allclose(reader.read(TEXTS), whole, atol=1e-5)
    assert read == [1, 1, 1]


def test_kept_features_that_were_changed_are_refused(reader: FrozenReader) -> None:
    reader.read(TEXTS)
    (path,) = reader.folder.glob("*.safetensors")  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(KitError, match="is not what was written"):
        reader.read(TEXTS)


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        (
            "config.json",
            lambda text: text.replace('layers": 2', 'layers": 3'),
            "lack 16 parameters",
        ),
        ("config.json", lambda text: text.replace('e_size": 48', 'e_size": 64'), "in other sizes"),
        ("tokenizer.json", None, "cannot be loaded"),
        ("model.safetensors", lambda _: "", "cannot be loaded"),
    ],
)
def test_an_encoder_whose_files_do_not_fit_is_refused(
    tiny_bert: Path, tmp_path: Path, file: str, damage: Callable[[str], str] | None, told: str
) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "bert")
    if damage is None:
        (folder / file).unlink()
    else:
        text = (folder / file).read_text(encoding="latin-1")
        assert damage(text) != text
        (folder / file).write_text(damage(text), encoding="latin-1")
    with pytest.raises(KitError, match=told):
        FrozenReader(f"frozen:{folder}", "", 32, None).read(TEXTS)


def test_a_pair_adds_how_both_agree_product_and_distance(reader: FrozenReader) -> None:
    other = f"{TEXTS[1]}{PAIR}{TEXTS[1]}"
    one, two, same = reader.read([f"{TEXTS[0]}{PAIR}{TEXTS[1]}"] * 2 + [other])
    first, second = reader.read(TEXTS[:2])
    agreement = []
    layers_of = [_read_layers(reader, text) for text in TEXTS[:2]]
    for a, b in zip(*layers_of, strict=True):  # last layer, middle layer
        cosines = cosine_similarity(a, b)
        agreement.append(cosine_similarity([a.mean(axis=0)], [b.mean(axis=0)])[0, 0])
        agreement.append((cosines.max(axis=1).mean() + cosines.max(axis=0).mean()) / 2)
    features = [first, second, first * second, np.abs(first - second)]
    expected = np.concatenate([agreement, *features])
    for row in (one, two):  # whatever is read beside it
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(same[:4], 1, atol=1e-6)
    assert Scaled.fit(reader, [f"{TEXTS[0]}{PAIR}{TEXTS[1]}"])[0].n_agreeing == 4
    assert Scaled.fit(reader, TEXTS)[0].n_agreeing == 0


def test_how_a_pair_agrees_counts_as_much_as_all_the_rest(reader: FrozenReader) -> None:
    pairs = [PAIR.join(pair) for pair in zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True)]
    _, matrix = Scaled.fit(reader, pairs)
    spread = matrix.std(axis=0)
    rest = matrix.shape[1] - 4
    np.testing.assert_allclose(spread[:4], (rest / 4) ** 0.5, rtol=1e-6)
    assert (spread[:4] ** 2).sum() == pytest.approx(rest)
    assert spread[4:].max() == pytest.approx(1)


def _read_layers(reader: FrozenReader, text: str) -> list[np.ndarray]:
    """The states of a text's tokens in the last layer and in the middle one."""
    tokenizer, model = reader.loaded
    with torch.no_grad():
        tokens = tokenizer(text, return_tensors="pt")
        layers = model(**tokens, output_hidden_states=True).hidden_states
    return [layers[-1][0].numpy(), layers[len(layers) // 2][0].numpy()]


def test_scaled_features_have_mean_0_and_deviation_1(reader: FrozenReader) -> None:
    scaled, matrix = Scaled.fit(reader, TEXTS)
    np.testing.assert_allclose(matrix.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(matrix.std(axis=0), 1, atol=1e-3)
    np.testing.assert_array_equal(scaled.transform(TEXTS), matrix)
    assert scaled.transform([]).shape == (0, 64)


def test_a_frozen_run_is_a_run(
    make_plan: Callable[..., Any], tiny_bert: Path, tmp_path: Path, in_process: list[Any]
) -> None:
    plan = make_plan(("eng",), encoder=f"frozen:{tiny_bert}")
    run: Run = stages.run_all(tmp_path / "run", plan, Engine(1, 1), None, lambda _: None)
    assert run.member == "frozen"
    assert run.recipe["encoder"] == f"frozen:{tiny_bert}"
    assert run.zip_file.is_file()
    oof, examples = read_probs(run.oof_file(0)), run.read_train()
    texts = dict(zip(examples.ids, examples.texts, strict=True))
    found = linear.load_fold(run, 0).probs([texts[id_] for id_ in oof.ids])
    np.testing.assert_array_equal(found, oof.values)
