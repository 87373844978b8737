"""Masked language modelling: learnt, to the bit after a kill, and never of rows that are judged."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semeval_kit.errors import KitError
from semeval_kit.run import stages
from semeval_kit.run.directory import Run
from semeval_kit.training import masking
from semeval_kit.training.encoder import load_bare, load_masked, load_tokenizer
from semeval_kit.training.masking import adapt_encoder
from semeval_kit.training.recipe import Recipe, make_recipe
from semeval_kit.training.steps import Workplace, make_accelerator
from semeval_kit.training.tokens import Tokens
from tests.conftest import save_tiny_encoder

FAMILIES = ("bert", "roberta", "distilbert", "albert", "mpnet", "deberta-v2", "modernbert")


class Stop(Exception):
    """What ends a training in the middle."""


@pytest.fixture(scope="session")
def masked_encoder(build_once: Callable[..., Path]) -> Callable[[str], Path]:
    def give(family: str) -> Path:
        return build_once(
            f"masked-{family}", lambda folder: save_tiny_encoder(folder, family, masked=True)
        )

    return give


def recipe(folder: Path, **fields: Any) -> Recipe:
    given = {"batch_size": 4, "lr": 5e-3, "precision": "fp32", "mlm_epochs": 3, **fields}
    return make_recipe({"encoder": str(folder), **given}, "a test")


def texts() -> Tokens:
    """Texts of few words, so that the tokens beside a masked one say what it is."""
    draw = np.random.default_rng(0)
    rows = [[2, *([int(draw.integers(10, 14))] * int(draw.integers(6, 12))), 3] for _ in range(30)]
    return Tokens.of(rows)


def adapt(
    config: Recipe,
    folder: Path,
    events: list[dict[str, Any]] | None = None,
    precision: str = "fp32",
) -> Any:
    def emit(event: dict[str, Any]) -> None:
        if events is not None:
            events.append(event)

    return adapt_encoder(
        config,
        0,
        load_tokenizer(config),
        texts(),
        folder / "adapted",
        Workplace(make_accelerator(precision, 0), {"threads": 1}, emit),
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_bare(make_recipe({"encoder": str(folder)}, "a test")).named_parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_of_any_family_learns_what_masked_tokens_are(
    family: str, masked_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    config = recipe(masked_encoder(family), mlm_epochs=8)
    events: list[dict[str, Any]] = []
    said = adapt(config, tmp_path, events)
    assert said["texts"] == 30
    assert len(said["losses"]) == 8
    assert said["losses"][-1] < 0.8 * said["losses"][0]
    before, after = weights(masked_encoder(family)), weights(tmp_path / "adapted")
    assert before.keys() == after.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    # A pooler has no part in it.
    assert {n for n in before if "pooler" not in n} - set(moved) <= {
        n for n in before if "type" in n or "position" in n
    }
    assert sum("masked tokens, epoch" in event.get("text", "") for event in events) == 8
    # What is there is taken as it is.
    assert adapt(config, tmp_path) == said
    assert not (tmp_path / "reading").exists()


@pytest.mark.usefixtures("fresh_accelerate")
def test_what_read_masked_tokens_takes_no_memory_while_labels_are_learnt(
    masked_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[weakref.ref[Any]] = []

    def load(config: Recipe) -> Any:
        network = load_masked(config)
        readers.append(weakref.ref(network))
        return network

    monkeypatch.setattr(masking, "load_masked", load)
    gc.disable()  # which would come by and by, and on a GPU too late
    try:
        adapt(recipe(masked_encoder("bert"), mlm_epochs=1), tmp_path, precision="bf16")
        assert [reader() for reader in readers] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("after", [5, 8, 17])
def test_a_kill_changes_no_bit(
    after: int, masked_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    config = recipe(masked_encoder("bert"), checkpoint_minutes=1e-7, freeze_embeddings=True)
    whole = adapt(config, tmp_path / "whole")
    counter = iter(range(1000))

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "rows" and next(counter) == after:
            raise Stop

    broken = tmp_path / "broken"
    events = _Listener(stop)
    with pytest.raises(Stop):
        adapt(config, broken, events)
    events = _Listener(lambda event: None)
    assert adapt(config, broken, events) == whole
    assert any("goes on with masked tokens after epoch" in e.get("text", "") for e in events)
    first, second = weights(tmp_path / "whole/adapted"), weights(broken / "adapted")
    assert all(torch.equal(first[name], second[name]) for name in first)
    table = "embeddings.word_embeddings.weight"
    assert torch.equal(first[table], weights(masked_encoder("bert"))[table])


class _Listener(list[dict[str, Any]]):
    def __init__(self, hear: Callable[[dict[str, Any]], None]) -> None:
        self.hear = hear

    def append(self, event: dict[str, Any]) -> None:
        super().append(event)
        self.hear(event)


def test_a_damaged_encoder_is_made_again(
    masked_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    config = recipe(masked_encoder("bert"), mlm_epochs=1)
    said = adapt(config, tmp_path)
    file = tmp_path / "adapted" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    events: list[dict[str, Any]] = []
    assert adapt(config, tmp_path, events) == said
    assert file.read_bytes() == content
    assert "read again" in events[0]["text"]


def test_an_encoder_without_such_a_head_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"without its head for masked language modelling \(cls\."):
        adapt(recipe(tiny_bert), tmp_path)


@pytest.mark.trains
def test_a_run_reads_the_texts_that_a_fold_learns_from_and_no_others(
    make_plan: Callable[..., Any],
    masked_encoder: Callable[[str], Path],
    tmp_path: Path,
    in_process: list[dict[str, Any]],
) -> None:
    encoder = str(masked_encoder("bert"))
    runs = {}
    for name, fields in {
        "plain": {},
        "masked": {"mlm_epochs": 2},
        "all": {"mlm_epochs": 1, "transductive": True},
    }.items():
        plan = make_plan(("eng",), encoder=encoder, **fields)
        runs[name] = run = stages.prepare(tmp_path / name, plan, lambda _: None)
        stages.train(run, stages.Engine(threads=1), lambda _: None)
    n_rows = len(runs["plain"].read_train())
    others = [len(runs["all"].read_split(split)) for split in ("dev", "test")]
    for fold in range(runs["plain"].n_folds):
        done = {name: run.read_done(fold) for name, run in runs.items()}
        assert "mlm" not in done["plain"]
        assert done["masked"]["mlm"]["texts"] == done["masked"]["n_train"] < n_rows
        assert done["all"]["mlm"]["texts"] == n_rows + sum(others)
        assert not runs["masked"].checkpoint_dir(fold).exists()
    values = [run.read_oof().values for run in runs.values()]
    assert not np.array_equal(values[0], values[1])
    n_train = [runs["masked"].read_done(f)["n_train"] for f in range(runs["masked"].n_folds)]
    span = " to ".join(str(n) for n in sorted({min(n_train), max(n_train)}))
    assert _notes(runs["masked"]) == [
        f"Before the labels each encoder read {span} texts 2 times with masked tokens, none of "
        "rows that it is judged on."
    ]
    assert _notes(runs["all"]) == [
        f"Before the labels each encoder read {n_rows + sum(others)} texts once with masked "
        "tokens, those of held-out rows, dev and test among them (transductive)."
    ]


def _notes(run: Run) -> list[str]:
    stages.tune(run, lambda _: None)
    notes = json.loads(run.estimate_file.read_text(encoding="utf-8"))["notes"]
    return [note for note in notes if "masked" in note]


def test_what_is_read_of_test_is_known_by_its_bytes(
    make_plan: Callable[..., Any],
    masked_encoder: Callable[[str], Path],
    tiny_data: Path,
    tmp_path: Path,
) -> None:
    fields = {"encoder": str(masked_encoder("bert")), "mlm_epochs": 1, "transductive": True}
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    plan = make_plan(("eng",), data=data, **fields)
    run = stages.prepare(tmp_path / "run", plan, lambda _: None)
    assert [len(examples) for examples in run.read_unlabelled()]
    file = run.find_file("test", "eng")
    assert file is not None
    file.write_text(file.read_text(encoding="utf-8").replace("test", "tast"), encoding="utf-8")
    with pytest.raises(KitError, match="files of dev or test have changed"):
        run.read_unlabelled()


def test_members_without_steps_read_no_masked_tokens(
    make_plan: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(KitError, match="only encoders that are trained"):
        stages.prepare(tmp_path / "run", make_plan(encoder="tfidf", mlm_epochs=1), lambda _: None)
