"""Encoders of every family train; what is frozen stays; hostile folders are refused."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semeval_kit.errors import KitError
from semeval_kit.training.batches import Rows, pad_batch
from semeval_kit.training.encoder import (
    describe_model,
    encoder_layers,
    load_classifier,
    load_model,
    load_tokenizer,
    parameter_groups,
)
from semeval_kit.training.head import Classifier
from semeval_kit.training.loop import FoldTrainer
from semeval_kit.training.recipe import Recipe, make_recipe
from semeval_kit.training.steps import make_accelerator
from semeval_kit.training.targets import Target, Targets
from semeval_kit.training.tokens import Ragged, Tokens

TARGETS = Targets((Target("multilabel", ("anger", "fear", "joy")),))


def recipe(folder: Path | str, **fields: Any) -> Recipe:
    return make_recipe({"encoder": str(folder), **fields}, "a test")


def load(folder: Path, **fields: Any) -> Classifier:
    torch.manual_seed(0)
    return load_classifier(recipe(folder, **fields), TARGETS)


def learn(model: Any, config: Recipe) -> None:
    """One step with a large learning rate."""
    optimizer = torch.optim.AdamW(parameter_groups(model, config))
    ids = torch.tensor([[2, 10, 11, 12, 3], [2, 20, 21, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    model.train()
    model(input_ids=ids, attention_mask=mask).pow(2).sum().backward()
    optimizer.step()


def changed(model: Any, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("pooling", ["mean", "layers", "cls"])
def test_every_family_trains_and_is_saved_as_it_was_trained(
    family: str,
    pooling: str,
    tiny_encoder: Callable[[str], Path],
    make_trainer: Callable[..., Any],
    make_rows: Callable[..., Any],
    tmp_path: Path,
) -> None:
    folder = tiny_encoder(family)
    events: list[dict[str, Any]] = []
    fields = {"encoder": str(folder), "pooling": pooling, "epochs": 1, "lr": 1e-3}
    trainer = make_trainer(events, **fields)
    trainer.pad_id = 1 if family in ("roberta", "xlm-roberta", "mpnet") else 0
    before = weights(trainer.classifier)
    train, valid = make_rows(8), make_rows(6, seed=1)
    progress = trainer.fit(train, valid, tmp_path, {}, "macro_f1")
    assert progress.best_epoch == 1
    assert [event["event"] for event in events] == ["step", "step", "epoch"]
    moved = changed(trainer.classifier, before)
    assert len(moved) > 0.8 * len(before)
    found = trainer.predict(valid)
    assert found.shape == (6, 3)

    saved = tmp_path / "model"
    saved.mkdir()
    trainer.classifier.save(saved)
    again = load_model(saved)
    assert again.targets == trainer.targets
    assert (again.head is None) == (
        pooling == "cls" or (pooling == "mean" and family == "modernbert")
    )
    for row, ids in enumerate(valid.tokens.ids):
        logits = again(torch.tensor([ids]), torch.ones(1, len(ids)))
        assert torch.sigmoid(logits[0]).tolist() == pytest.approx(found[row].tolist(), abs=1e-5)


def test_a_head_of_layers_reads_the_last_and_the_middle_one(tiny_bert: Path) -> None:
    model = load(tiny_bert, pooling="layers").eval()
    batch = pad_batch(Tokens(Ragged.of([[2, 17, 18, 3], [2, 19, 3]])), 0)
    with torch.no_grad():
        found = model(**batch)
        states = model.network(**batch, output_hidden_states=True).hidden_states
        last, middle = states[-1], states[len(states) // 2]
        for row, length in enumerate((4, 3)):
            means = [layer[row, :length].mean(dim=0) for layer in (last, middle)]
            expected = model.head(torch.cat(means))
            torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=0)
    assert not torch.equal(last, middle)


def make_pairs(n: int, seed: int = 0) -> Rows:
    """Pairs that are as much related as they share words."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(10, 60, size=(n, 2, 6))
    shared = draw.integers(0, 7, size=n)
    for row, count in enumerate(shared):
        ids[row, 1, :count] = ids[row, 0, :count]
    one, two = ([[2, *row, 3] for row in side.tolist()] for side in ids.swapaxes(0, 1))
    tokens = Tokens(Ragged.of(one), seconds=Ragged.of(two))
    return Rows(tuple(map(str, range(n))), tokens, shared[:, None] / 6)


@pytest.mark.parametrize("bounded", [True, False])
def test_numbers_of_pairs_apart_begin_with_how_both_agree(tiny_bert: Path, bounded: bool) -> None:
    targets = Targets((Target("regression", ("score",), bounded=bounded),))
    torch.manual_seed(0)
    model = load_classifier(recipe(tiny_bert, pairs="apart"), targets).eval()
    batch = pad_batch(make_pairs(30).tokens, 0)
    with torch.no_grad():
        found = targets.to_probs(model(**batch))[:, 0]
        mask = batch["attention_mask"].unsqueeze(-1)
        sides = []
        for side in (0, 1):
            inputs = {name: cells[:, side] for name, cells in batch.items()}
            states = model.network(**inputs).last_hidden_state
            sides.append(
                [row[held] for row, held in zip(states, mask[:, side, :, 0].bool(), strict=True)]
            )
    agreement = []
    for one, two in zip(*sides, strict=True):
        cosine = torch.cosine_similarity(one.mean(dim=0), two.mean(dim=0), dim=0)
        cosines = torch.cosine_similarity(one[:, None], two[None], dim=-1)
        aligned = (cosines.amax(dim=1).mean() + cosines.amax(dim=0).mean()) / 2
        agreement.append((cosine + aligned) / 2)
    found_agreement = torch.stack(agreement).double()
    expected = torch.sigmoid(4 * found_agreement - 2) if bounded else found_agreement
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def learn_pairs(folder: Path, encoder: Path, pad_id: int = 0, **fields: Any) -> float:
    """Learn pairs apart, save the model, and see that it comes back; returns Spearman's rho."""
    fields = {"encoder": str(encoder), "pairs": "apart", "lr": 3e-3, "epochs": 4, **fields}
    targets = Targets((Target("regression", ("score",)),))
    config = make_recipe(fields, "a test")
    trainer = FoldTrainer(
        config, targets, 0, pad_id, accelerator=make_accelerator("fp32", 0), emit=lambda _: None
    )
    valid = make_pairs(40, seed=1)
    progress = trainer.fit(make_pairs(160), valid, folder, {}, "spearman")
    found = trainer.predict(valid)
    saved = folder / "model"
    saved.mkdir()
    trainer.classifier.save(saved)
    again = load_model(saved)
    assert again.reads == "apart"
    # A line over how both agree, the first features: its slopes are learnt, and nothing else.
    assert again.head.weight[0, :4].count_nonzero() == 4
    assert again.head.weight[0, 4:].count_nonzero() == 0
    assert again.head.weight[0, 0] != 2.0  # where it begins
    with torch.no_grad():
        probs = targets.to_probs(again(**pad_batch(valid.tokens, pad_id)))
    assert probs.numpy() == pytest.approx(found, abs=1e-5)
    return progress.best_value


def test_every_family_learns_pairs_apart(
    family: str, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    pad_id = 1 if family in ("roberta", "xlm-roberta", "mpnet") else 0
    assert learn_pairs(tmp_path, tiny_encoder(family), pad_id) > 0.5


@pytest.mark.parametrize("lever", [{"rdrop": 1.0}, {"multi_dropout": 3}, {"fgm": 0.5}])
def test_levers_work_with_pairs_apart(
    lever: dict[str, Any], tiny_bert: Path, tmp_path: Path
) -> None:
    assert learn_pairs(tmp_path, tiny_bert, **lever) > 0.5


def test_pairs_apart_need_the_mean_of_tokens() -> None:
    with pytest.raises(KitError, match="compares means of tokens; set pooling = 'mean'"):
        recipe("embedded", pairs="apart", pooling="cls")


@pytest.mark.parametrize("family", ["bert", "albert", "mpnet"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_probabilities(
    family: str, dtype: torch.dtype, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    """With a head of loud logits: what was folded into a layer gave NaN in fp16."""
    model = load(tiny_encoder(family)).eval()
    with torch.no_grad():
        model.head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    model.save(tmp_path)
    ids = torch.randint(5, 60, (8, 40), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        logits = model(ids, mask)
        half = load_model(tmp_path, dtype)(ids, mask)
    assert logits.abs().max() > 1
    assert (TARGETS.to_probs(half) - TARGETS.to_probs(logits)).abs().max() < 0.01


def test_the_mean_is_over_the_tokens_of_every_family_and_blind_to_padding(
    family: str, tiny_encoder: Callable[[str], Path]
) -> None:
    model = load(tiny_encoder(family)).eval()
    if model.head is None:
        assert model.network.config.classifier_pooling == "mean"
        return
    ids = torch.tensor([[2, 10, 11, 12, 3, 0, 0], [2, 20, 21, 22, 23, 24, 3]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
    with torch.no_grad():
        hidden = model.network(input_ids=ids, attention_mask=mask).last_hidden_state
        means = torch.stack([hidden[0, :5].mean(dim=0), hidden[1].mean(dim=0)])
        assert torch.allclose(model(ids, mask), model.head(means), atol=1e-6)


def test_a_finished_model_is_trained_on_further(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    first = load(tiny_encoder("albert"))
    first.save(tmp_path)
    weights_of_first = weights(first)
    second = load(tmp_path)
    for name, value in weights(second).items():
        assert name.startswith("head.") or torch.equal(value, weights_of_first[name])
    learn(second, recipe("x", lr=0.1))
    assert len(changed(second, weights_of_first)) > 0.8 * len(weights_of_first)


def test_a_model_that_an_older_version_saved_is_read_but_not_trained_on(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """Its last layer holds the head, and there is no head.json."""
    old = load(tiny_bert, pooling="cls").network
    old.config.mean_head_folded = True
    old.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert (model.head, model.targets) == (None, TARGETS)
    with pytest.raises(KitError, match="an older version of this kit"):
        load(tmp_path)


def test_what_became_of_the_recipe_is_told(tiny_bert: Path) -> None:
    config = recipe(tiny_bert, attention_dropout=0.2, head_dropout=0.3, freeze_layers=1)
    found = describe_model(load(tiny_bert, **config.model_dump(exclude={"encoder"})), config)
    assert found["peak_lr"] == pytest.approx(4e-5 * 24**1.585)
    dropouts = {name: found[f"{name}_dropout"] for name in ("hidden", "attention", "head")}
    assert dropouts == {"hidden": 0.1, "attention": 0.2, "head": 0.3}
    assert 0 < found["trainable_parameters"] < found["parameters"]


def test_frozen_layers_keep_their_bytes(family: str, tiny_encoder: Callable[[str], Path]) -> None:
    n_layers = 1 if family == "albert" else 2  # ALBERT: groups that share weights
    for asked in (1, -1) if n_layers > 1 else (1,):
        model = load(tiny_encoder(family), freeze_layers=asked)
        before = weights(model)
        learn(model, recipe("x", lr=0.1, head_lr=0.1))
        layers = encoder_layers(model.backbone)
        assert len(layers) == n_layers
        names = {id(p): name for name, p in model.named_parameters()}
        frozen = {names[id(p)] for p in layers[0].parameters()}
        frozen |= {names[id(p)] for p in model.backbone.embeddings.parameters()}
        moved = changed(model, before)
        assert not moved & frozen
        if n_layers > 1:
            assert {names[id(p)] for p in layers[1].parameters()} & moved
        inside = {names[id(p)] for p in model.backbone.parameters()}
        heads = set(names.values()) - inside
        assert moved & heads


def test_embeddings_alone_can_be_frozen(tiny_bert: Path) -> None:
    model = load(tiny_bert, freeze_embeddings=True)
    before = weights(model)
    learn(model, recipe("x", lr=0.1))
    moved = changed(model, before)
    assert not [name for name in moved if "embeddings" in name]
    assert {name for name in before if "layer.0" in name} <= moved


def test_freezing_more_layers_than_there_are_is_refused(tiny_bert: Path) -> None:
    load(tiny_bert, freeze_layers=2)
    with pytest.raises(KitError, match="freeze_layers = 3: the encoder has 2 layers"):
        load(tiny_bert, freeze_layers=3)


def test_parameter_groups_know_the_head_and_what_does_not_decay(tiny_bert: Path) -> None:
    config = recipe(tiny_bert, lr=1e-4, head_lr=1e-2, weight_decay=0.05)
    model = load(tiny_bert)
    groups = {
        (group["lr"], group["weight_decay"]): {id(p) for p in group["params"]}
        for group in parameter_groups(model, config)
    }
    expected: dict[tuple[float, float], set[int]] = {}
    for name, parameter in model.named_parameters():
        rate = 1e-2 if name.startswith("head.") else 1e-4
        decay = 0.0 if name.endswith("bias") or "LayerNorm" in name else 0.05
        expected.setdefault((rate, decay), set()).add(id(parameter))
    assert groups == expected
    assert len(groups) == 4


def test_frozen_parameters_are_in_no_group(tiny_bert: Path) -> None:
    config = recipe(tiny_bert, freeze_layers=1)
    model = load(tiny_bert, freeze_layers=1)
    grouped = {id(p) for group in parameter_groups(model, config) for p in group["params"]}
    assert grouped == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(grouped) < len(list(model.parameters()))


def test_dropouts_are_as_the_recipe_says(tiny_bert: Path) -> None:
    plain = load(tiny_bert)
    assert plain.backbone.config.hidden_dropout_prob == 0.1
    assert plain.dropout.p == 0.1
    model = load(tiny_bert, hidden_dropout=0.3, attention_dropout=0.2, head_dropout=0.5)
    layer = model.backbone.encoder.layer[0]
    assert layer.output.dropout.p == 0.3
    assert model.backbone.config.attention_probs_dropout_prob == 0.2
    assert model.dropout.p == 0.5
    own = load(tiny_bert, pooling="cls", head_dropout=0.4)
    assert own.network.dropout.p == 0.4


def test_distilbert_has_other_names_for_the_same_dropouts(
    tiny_encoder: Callable[[str], Path],
) -> None:
    model = load(
        tiny_encoder("distilbert"), pooling="cls", hidden_dropout=0.3, attention_dropout=0.2
    )
    assert model.network.distilbert.transformer.layer[0].ffn.dropout.p == 0.3
    assert model.network.config.attention_dropout == 0.2


@pytest.fixture
def copied(tiny_bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))


@pytest.mark.parametrize("key", ["auto_map", "_attn_implementation_internal"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_config_that_asks_for_code_is_refused(copied: Path, key: str, nested: bool) -> None:
    path = copied / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    hostile = {key: "someone/kernel"}
    content = {**content, "text_config": hostile} if nested else {**content, **hostile}
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(KitError, match=f"{key}, which asks for code"):
        load(copied)


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "ran")


def test_pickled_weights_are_neither_loaded_nor_run(copied: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(KitError, match="safetensors"):
        load(copied)
    assert not marker.exists()


def test_damaged_weights_are_told_with_the_encoder(copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(KitError, match=r"encoder '.*' cannot be loaded"):
        load(copied)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none"), "./none", "a/b/c"):
        with pytest.raises(KitError, match=r"no config\.json in that folder"):
            load_tokenizer(recipe(name))


def test_a_hub_encoder_is_loaded_at_its_commit(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the hub's cache, as a download leaves it: `main` has moved on since."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    ours, newest = "a" * 40, "b" * 40
    folder = tmp_path / "models--org--encoder"
    shutil.copytree(tiny_bert, folder / "snapshots" / ours)
    (folder / "snapshots" / newest).mkdir()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(newest, encoding="utf-8")
    pinned = recipe("org/encoder", revision=ours)
    assert load_tokenizer(pinned)("wondi")["input_ids"]
    found, expected = weights(load_classifier(pinned, TARGETS)), weights(load(tiny_bert))
    name = "network.embeddings.word_embeddings.weight"
    assert torch.equal(found[name], expected[name])
    with pytest.raises(KitError, match="cannot be loaded"):
        load_tokenizer(recipe("org/encoder"))


def test_a_hub_id_without_a_hub_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for give in (load_tokenizer, lambda config: load_classifier(config, TARGETS)):
        with pytest.raises(KitError, match="'embedded' needs no network"):
            give(recipe("nobody-at-all/no-such-encoder"))


def test_tokenizers_pad_on_the_right(copied: Path) -> None:
    path = copied / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "padding_side": "left"}), encoding="utf-8")
    assert load_tokenizer(recipe(copied)).padding_side == "right"


def test_an_encoder_whose_weights_do_not_fill_its_config_is_refused(copied: Path) -> None:
    path = copied / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "num_hidden_layers": 3}), encoding="utf-8")
    for pooling in ("mean", "cls"):
        with pytest.raises(KitError, match=r"weights lack 16 parameters .*layer\.2\."):
            load(copied, pooling=pooling)


@pytest.mark.parametrize("field", ["hidden_size", "intermediate_size", "vocab_size"])
def test_an_encoder_whose_weights_have_other_sizes_than_its_config_is_refused(
    copied: Path, field: str
) -> None:
    path = copied / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, field: 2 * content[field]}), encoding="utf-8")
    for pooling in ("mean", "cls"):
        with pytest.raises(KitError, match=rf"{re.escape(str(copied))}.*in other sizes"):
            load(copied, pooling=pooling)


def test_an_encoder_without_tokenizer_files_is_refused(copied: Path) -> None:
    for path in copied.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(KitError, match="tokenizer"):
        load_tokenizer(recipe(copied))
