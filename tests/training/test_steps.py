"""Levers: each changes what it should, is off by default, and survives a kill to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from semeval_kit.errors import KitError
from semeval_kit.training.encoder import load_classifier, parameter_groups
from semeval_kit.training.head import TargetLoss
from semeval_kit.training.recipe import make_recipe
from semeval_kit.training.steps import Adversary, WeightAverage
from semeval_kit.training.targets import LossOptions, Target, Targets

NO_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "head_dropout": 0.0}
MULTI = Targets((Target("multilabel", ("a", "b", "c")),))
SINGLE = Targets((Target("singlelabel", ("a", "b", "c")),))
ALL = {
    "label_smoothing": 0.1,
    "asymmetric": 2.0,
    "rdrop": 1.0,
    "fgm": 0.5,
    "ema": 0.9,
    "layer_decay": 0.8,
    "multi_dropout": 3,
}


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.classifier.named_parameters()}


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.fixture
def train(make_trainer: Any, make_rows: Any, tmp_path: Path) -> Callable[..., Any]:
    """Train two short epochs; keywords are recipe fields."""

    def run(**fields: Any) -> Any:
        trainer = make_trainer(**{"epochs": 2, "lr": 1e-3, "select_by": "last", **fields})
        folder = tmp_path / "-".join(map(str, fields)) / "none"
        trainer.progress = trainer.fit(make_rows(16), make_rows(6, seed=1), folder, {}, "macro_f1")
        return trainer

    return run


@pytest.mark.parametrize(
    "fields",
    [
        {"label_smoothing": 0.1},
        {"asymmetric": 2.0},
        {"rdrop": 1.0},
        {"fgm": 0.5},
        {"ema": 0.9},
        {"average_epochs": 2},
        {"interpolation": 0.5},
        {"layer_decay": 0.5},
        {"multi_dropout": 4},
    ],
)
def test_each_lever_changes_the_training(fields: dict[str, Any], train: Callable[..., Any]) -> None:
    assert largest_difference(weights(train()), weights(train(**fields))) > 1e-5


def test_smoothed_labels_are_those_of_torch(draw: torch.Generator) -> None:
    logits = torch.randn(8, 3, generator=draw)
    index = torch.randint(0, 3, (8,), generator=draw)
    gold = functional.one_hot(index, 3).float()
    options = LossOptions(smoothing=0.2)
    found = TargetLoss(SINGLE, gold.numpy(), "none", options).sum_terms(logits, gold)
    expected = functional.cross_entropy(logits, index, label_smoothing=0.2, reduction="sum")
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    found = TargetLoss(MULTI, gold.numpy(), "none", options).sum_terms(logits, gold)
    softened = gold * 0.8 + 0.1
    expected = functional.binary_cross_entropy_with_logits(logits, softened, reduction="sum")
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_the_asymmetric_loss_is_that_of_the_paper(draw: torch.Generator) -> None:
    logits = torch.randn(50, 3, generator=draw) * 3
    gold = (torch.rand(50, 3, generator=draw) < 0.3).float()
    loss = TargetLoss(MULTI, gold.numpy(), "none", LossOptions(asymmetric=2.0))
    p = logits.sigmoid().double().numpy()
    shifted = np.maximum(p - 0.05, 0)
    y = gold.numpy()
    expected = -(y * np.log(p) + (1 - y) * shifted**2 * np.log(1 - shifted)).sum()
    assert float(loss.sum_terms(logits, gold)) == pytest.approx(expected, rel=1e-5)
    easy = torch.full((1, 3), -4.0, requires_grad=True)  # p = 0.018, below the margin
    loss.sum_terms(easy, torch.zeros(1, 3)).backward()
    assert easy.grad.tolist() == [[0.0, 0.0, 0.0]]


def test_two_passes_differ_by_half_the_symmetric_divergence(draw: torch.Generator) -> None:
    one, two = torch.randn(5, 3, generator=draw), torch.randn(5, 3, generator=draw)
    gold = torch.zeros(5, 3)
    gold[0, 1] = torch.nan
    for targets in (MULTI, SINGLE):
        found = float(
            TargetLoss(targets, gold.numpy(), "none").sum_divergence(torch.cat([one, two]), gold)
        )
        if targets is SINGLE:
            logs = [x[1:].log_softmax(dim=1) for x in (one, two)]
        else:
            known = ~gold.isnan()
            logs = [
                torch.stack([-functional.softplus(-x), -functional.softplus(x)], -1)[known]
                for x in (one, two)
            ]
        a, b = logs
        expected = ((a.exp() * (a - b)).sum() + (b.exp() * (b - a)).sum()) / 2
        assert found == pytest.approx(float(expected), rel=1e-5)


def test_without_dropout_two_passes_are_one(train: Callable[..., Any]) -> None:
    once, twice = train(**NO_DROPOUT), train(**NO_DROPOUT, rdrop=5.0)
    assert largest_difference(weights(once), weights(twice)) < 1e-4


def test_samples_of_dropout_are_blocks_of_logits_and_their_loss_is_the_mean(
    tiny_bert: Path, draw: torch.Generator
) -> None:
    fields = {"encoder": str(tiny_bert), "multi_dropout": 4, "head_dropout": 0.5}
    model = load_classifier(make_recipe(fields, "a test"), MULTI)
    ids = torch.randint(5, 60, (2, 7), generator=draw)
    assert model.eval()(ids, torch.ones_like(ids)).shape == (2, 3)
    logits = model.train()(ids, torch.ones_like(ids))
    assert logits.shape == (8, 3)
    assert len({tuple(row) for row in logits.tolist()}) == 8
    gold = torch.tensor([[1.0, 0, 1], [0, 0, torch.nan]])
    loss = TargetLoss(MULTI, gold.numpy(), "none")
    logits = logits.detach()
    parts = [float(loss.sum_terms(logits[2 * k : 2 * k + 2], gold)) for k in range(4)]
    assert float(loss.sum_terms(logits, gold)) == pytest.approx(np.mean(parts), rel=1e-6)
    with pytest.raises(KitError, match="multi_dropout needs the mean of tokens"):
        load_classifier(make_recipe({**fields, "pooling": "cls"}, "a test"), MULTI)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_attack_goes_uphill_by_its_length(
    frozen: bool, tiny_bert: Path, draw: torch.Generator
) -> None:
    fields = {"encoder": str(tiny_bert), "freeze_embeddings": frozen, **NO_DROPOUT}
    model = load_classifier(make_recipe(fields, "a test"), MULTI).eval()
    layer = model.network.get_input_embeddings()
    ids, gold = torch.randint(5, 60, (3, 7), generator=draw), torch.ones(3, 3)
    loss = TargetLoss(MULTI, gold.numpy(), "none")
    seen: list[torch.Tensor] = []
    adversary = Adversary(layer, 0.3)
    with adversary.watch():
        before = loss.sum_terms(model(ids, torch.ones_like(ids)), gold)
    before.backward()
    with adversary.attack():
        handle = layer.register_forward_hook(lambda _, __, output: seen.append(output))
        after = loss.sum_terms(model(ids, torch.ones_like(ids)), gold)
        handle.remove()
    assert float(after.detach()) > float(before.detach())
    moved = (seen[0] - layer(ids)).flatten(1).norm(dim=1)
    assert moved.tolist() == pytest.approx([0.3] * 3, rel=1e-4)
    assert torch.equal(model(ids, torch.ones_like(ids)), model(ids, torch.ones_like(ids)))
    assert not layer._forward_hooks


def test_a_fading_mean_and_a_mean_of_the_last_epochs() -> None:
    steps = [torch.tensor([float(value)]) for value in (1, 5, 2, 8)]
    average = WeightAverage(decay=0.2)
    expected = 1.0
    for count, value in enumerate(steps):
        average.add_step(iter([("w", value)]))
        fade = min(0.2, (1 + count) / (10 + count))
        expected = value.item() if count == 0 else fade * expected + (1 - fade) * value.item()
        assert average.weights["w"].item() == pytest.approx(expected)
    last = WeightAverage(last_epochs=3)
    for left, value in zip((3, 2, 1, 0), steps, strict=True):
        last.add_epoch(iter([("w", value)]), left)
        last.add_step(iter([("w", value)]))
    assert last.weights["w"].item() == pytest.approx((5 + 2 + 8) / 3)
    parameters = {"w": torch.tensor([9.0])}
    with last.in_place_of(parameters):
        assert parameters["w"].item() == pytest.approx(5.0)
    assert parameters["w"].item() == 9.0


def test_the_mean_of_the_last_epochs_is_what_is_kept(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    trainer = make_trainer(epochs=4, average_epochs=2, select_by="last")
    seen: list[dict[str, torch.Tensor]] = []
    train_epoch = trainer._train_epoch

    def spy(*args: Any) -> Any:
        row = train_epoch(*args)
        seen.append(weights(trainer))
        return row

    trainer._train_epoch = spy
    trainer.fit(make_rows(16), make_rows(6, seed=1), tmp_path, {}, "macro_f1")
    mean = {name: (seen[2][name] + seen[3][name]) / 2 for name in seen[0]}
    assert largest_difference(weights(trainer), mean) < 1e-6
    assert largest_difference(weights(trainer), seen[3]) > 1e-5


@pytest.mark.parametrize("mean", [{}, {"average_epochs": 2}], ids=["plain", "averaged"])
def test_what_is_kept_lies_between_the_encoder_as_it_came_and_the_trained_one(
    mean: dict[str, Any], make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    def fit(**fields: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], float]:
        trainer = make_trainer(epochs=2, select_by="last", **mean, **fields)
        start = weights(trainer)
        folder = tmp_path / f"{fields}"
        valid = make_rows(6, seed=1)
        progress = trainer.fit(make_rows(16), valid, folder, {}, "macro_f1")
        with torch.no_grad():
            probs = torch.tensor(trainer.predict(valid))
        gold = torch.tensor(valid.targets)
        entropy = functional.binary_cross_entropy(probs, gold).item()
        assert progress.history[-1]["val_loss"] == pytest.approx(entropy, rel=1e-4)
        return start, weights(trainer), entropy

    start, trained, plain = fit()
    _, kept, between = fit(interpolation=0.25)
    assert between != pytest.approx(plain, rel=1e-4)
    for name, value in kept.items():
        share = 1.0 if name.startswith("head.") else 0.25
        expected = start[name] + share * (trained[name] - start[name])
        assert torch.allclose(value, expected, atol=1e-6), name


def test_lower_layers_learn_more_slowly(tiny_bert: Path) -> None:
    recipe = make_recipe(
        {"encoder": str(tiny_bert), "lr": 1e-3, "head_lr": 1e-2, "layer_decay": 0.5}, "a test"
    )
    model = load_classifier(recipe, MULTI)
    rates = {id(p): g["lr"] for g in parameter_groups(model, recipe) for p in g["params"]}
    for name, parameter in model.named_parameters():
        expected = {"layer.1": 1e-3, "layer.0": 5e-4, "embeddings": 2.5e-4, "head": 1e-2}
        (rate,) = [value for part, value in expected.items() if part in name]
        assert rates[id(parameter)] == rate, name


def test_averages_exclude_each_other() -> None:
    with pytest.raises(KitError, match="set ema or average_epochs, not both"):
        make_recipe({"ema": 0.9, "average_epochs": 2}, "a test")


class Interrupted(Exception):
    """Stands for a kill."""


# Also of the schedule: torch would warn of steps out of order after a checkpoint at step 1.
@pytest.mark.filterwarnings("error:.*optimizer.step:UserWarning")
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"accumulation": 2, "freeze_embeddings": True},
        ALL,
        {"average_epochs": 2},
        {"interpolation": 0.5},
    ],
    ids=["plain", "accumulated", "levers", "averaged", "interpolated"],
)
def test_a_training_killed_within_epochs_is_the_uninterrupted_one(
    fields: dict[str, Any], make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    def fit(folder: str, stop_at: int = 10**9) -> tuple[Any, Any, bytes, list[Any]]:
        events: list[Any] = []
        trainer = make_trainer(events, epochs=3, checkpoint_minutes=1e-9, **fields)
        step, done = trainer._step, []

        def counted(*args: Any) -> Any:
            if len(done) == stop_at:
                raise Interrupted
            done.append(1)
            return step(*args)

        trainer._step = counted
        valid = make_rows(12, seed=1)
        progress = trainer.fit(make_rows(21), valid, tmp_path / folder, {}, "macro_f1")
        return trainer, progress, trainer.predict(valid).tobytes(), events

    whole, progress, probs, _ = fit("whole")
    for stops in ([1], [3, 2, 1], [7, 1]):
        folder = f"killed-{stops}"
        for stop_at in stops:
            with pytest.raises(Interrupted):
                fit(folder, stop_at)
            torch.manual_seed(99)  # whatever the process has drawn since
        again, found, answers, events = fit(folder)
        assert events[0]["event"] == "resumed"
        assert {n: p.tolist() for n, p in weights(again).items()} == {
            n: p.tolist() for n, p in weights(whole).items()
        }
        losses = [(r["train_loss"], r["val_loss"], r["lr"]) for r in found.history]
        assert losses == [(r["train_loss"], r["val_loss"], r["lr"]) for r in progress.history]
        assert answers == probs
