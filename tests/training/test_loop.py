"""The loop: schedule, accumulation, masked cells, stopping, repeating and resuming to the bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semeval_kit.errors import KitError
from semeval_kit.training import loop
from semeval_kit.training.loop import describe_difference
from semeval_kit.training.tokens import Tokens

NO_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "head_dropout": 0.0}
STAMP = {"threads": 1}
Event = dict[str, Any]


class Interrupted(Exception):
    """Stands for a kill."""


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.classifier.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@contextmanager
def learning_rates(trainer: Any) -> Iterator[list[tuple[float, ...]]]:
    """The rates of all groups at each optimizer step."""
    seen: list[tuple[float, ...]] = []
    step = trainer._step

    def spy(*args: Any) -> Any:
        seen.append(tuple(group["lr"] for group in trainer.steps.optimizer.param_groups))
        return step(*args)

    trainer._step = spy
    yield seen


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("n_rows", [24, 30])
def test_the_learning_rate_rises_to_its_peak_and_ends_at_zero(
    accumulation: int, n_rows: int, make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    trainer = make_trainer(
        accumulation=accumulation, epochs=3, warmup=2, batch_size=2, lr=1e-3, head_lr=1e-2
    )
    with learning_rates(trainer) as rates:
        progress = trainer.fit(make_rows(n_rows), make_rows(4), tmp_path, STAMP, "macro_f1")
    per_epoch = math.ceil(math.ceil(n_rows / 2) / accumulation)
    assert len(rates) == 3 * per_epoch
    total = len(rates)
    expected = [min(step / 2, (total - step) / (total - 2)) for step in range(total)]
    groups = np.array(rates).T
    for group in groups:
        assert (group / group.max()).tolist() == pytest.approx(expected)
    assert set(groups.max(axis=1).tolist()) == {1e-3, 1e-2}
    assert {group["lr"] for group in trainer.steps.optimizer.param_groups} == {0.0}
    assert progress.history[-1]["lr"] == 0.0


def test_a_share_of_the_steps_warms_up(make_trainer: Any, make_rows: Any, tmp_path: Path) -> None:
    trainer = make_trainer(epochs=2, warmup=0.5, batch_size=2)
    with learning_rates(trainer) as rates:
        trainer.fit(make_rows(10), make_rows(4), tmp_path, STAMP, "macro_f1")
    encoder = [rate[0] for rate in rates]
    assert len(encoder) == 10
    assert int(np.argmax(encoder)) == 5
    assert encoder[0] == 0.0


def test_four_small_batches_are_one_large_one(
    make_trainer: Any, make_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        loop,
        "training_batches",
        lambda lengths, size, seed: [
            list(range(i, min(i + size, len(lengths)))) for i in range(0, len(lengths), size)
        ],
    )
    # Adam turns gradients that are nothing but rounding (those of key biases) into whole steps;
    # a large epsilon leaves them small, so that what is compared is the sum of the gradients.
    monkeypatch.setattr(torch.optim, "AdamW", partial(torch.optim.AdamW, eps=1e-3))
    found = []
    rows = make_rows(40)
    rows.targets[::5, 1] = np.nan  # cells weigh the same however they fall into batches
    for size, accumulation in ((16, 1), (4, 4)):
        trainer = make_trainer(
            batch_size=size, accumulation=accumulation, epochs=1, select_by="last", **NO_DROPOUT
        )
        folder = tmp_path / str(size)
        progress = trainer.fit(rows, make_rows(4), folder, STAMP, "macro_f1")
        found.append((weights(trainer), progress.history[0]["train_loss"]))
    (large, large_loss), (small, small_loss) = found
    assert max(float((large[name] - small[name]).abs().max()) for name in large) < 1e-6
    assert small_loss == pytest.approx(large_loss, abs=1e-6)
    start = weights(make_trainer())
    assert max(float((large[name] - start[name]).abs().max()) for name in large) > 1e-4


def test_cells_that_are_not_annotated_give_no_gradient(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    rows = make_rows(16)
    rows.targets[:, 1] = np.nan
    trainer = make_trainer(weight_decay=0.0, epochs=1)
    before = weights(trainer)
    trainer.fit(rows, make_rows(4), tmp_path, STAMP, "macro_f1")
    after = weights(trainer)
    assert torch.equal(after["head.weight"][1], before["head.weight"][1])
    assert torch.equal(after["head.bias"][1], before["head.bias"][1])
    assert not torch.equal(after["head.weight"][0], before["head.weight"][0])


def test_rows_without_any_annotated_cell_change_nothing(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    rows = make_rows(8)
    rows.targets[:] = np.nan
    trainer = make_trainer(weight_decay=0.0, epochs=1)
    before = weights(trainer)
    progress = trainer.fit(rows, make_rows(4), tmp_path, STAMP, "macro_f1")
    assert same(weights(trainer), before)
    assert progress.history[0]["train_loss"] == 0.0


@pytest.mark.parametrize("exclusive", [False, True])
def test_it_learns(exclusive: bool, make_trainer: Any, make_rows: Any, tmp_path: Path) -> None:
    rows, valid = make_rows(96), make_rows(48, seed=1)
    if exclusive:
        rows, valid = _exclude(rows), _exclude(valid)
    trainer = make_trainer(
        exclusive=exclusive, epochs=6, lr=3e-3, head_lr=1e-2, batch_size=8, **NO_DROPOUT
    )
    progress = trainer.fit(rows, valid, tmp_path, STAMP, "macro_f1")
    losses = [row["val_loss"] for row in progress.history]
    assert losses[-1] < 0.6 * losses[0]
    assert progress.best_value > 0.9
    probs = trainer.predict(valid)
    if exclusive:
        assert probs.sum(axis=1).tolist() == pytest.approx([1.0] * 48)


def _exclude(rows: Any) -> Any:
    """Rows with one target each, said by their words."""
    chosen = [ids[1] % 3 for ids in rows.tokens.ids]
    token_ids = [[2, *[5 + 3 * target] * 3, 3] for target in chosen]
    return replace(rows, tokens=Tokens.of(token_ids), targets=np.eye(3)[chosen])


def test_probabilities_do_not_depend_on_what_shares_a_batch(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    valid = make_rows(20, seed=1)
    found = []
    for size in (1, 7, 64):
        trainer = make_trainer(epochs=1, eval_batch_size=size)
        trainer.fit(make_rows(16), valid, tmp_path / str(size), STAMP, "macro_f1")
        found.append(trainer.predict(valid))
    assert np.abs(found[0] - found[2]).max() < 1e-6
    assert np.abs(found[1] - found[2]).max() < 1e-6


def test_a_loss_that_is_no_number_stops_with_the_rows(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    events: list[Event] = []
    trainer = make_trainer(events, epochs=1)
    rows = make_rows(12)
    culprit = rows.tokens.ids.index(max(rows.tokens.ids, key=len))
    ids = list(rows.tokens.ids)
    ids[culprit] = [*ids[culprit], 61]
    rows = replace(rows, tokens=Tokens.of(ids))
    with torch.no_grad():
        trainer.classifier.backbone.embeddings.word_embeddings.weight[61] = float("nan")
    with pytest.raises(KitError) as error:
        trainer.fit(rows, make_rows(4), tmp_path, STAMP, "macro_f1")
    assert "fold 0: the loss is nan on the rows" in error.value.message
    assert f"row-{culprit}" in error.value.message
    # It stopped before the step: no other weight has caught it.
    tables = ("network.embeddings.word_embeddings.weight",)
    caught = [n for n, p in weights(trainer).items() if torch.isnan(p).any() and n not in tables]
    assert caught == []
    assert not list(tmp_path.glob("epoch-*"))


def scripted(trainer: Any, values: list[float]) -> None:
    """Let validation say these values, one per epoch."""
    left = list(values)
    validate = trainer._validate

    def say(valid: Any) -> Event:
        value = left.pop(0)
        return {**validate(valid), "macro_f1": value, "val_loss": 1 - value}

    trainer._validate = say


def test_patience_stops_and_the_best_epoch_is_kept(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    events: list[Event] = []
    trainer = make_trainer(events, epochs=9, patience=2)
    scripted(trainer, [0.2, 0.5, 0.4, 0.5, 0.9])
    kept: list[dict[str, torch.Tensor]] = []
    emit = trainer.emit
    trainer.emit = lambda event: (
        emit(event),
        kept.append(weights(trainer)) if event["event"] == "epoch" else None,
    )
    progress = trainer.fit(make_rows(8), make_rows(4), tmp_path, STAMP, "macro_f1")
    assert [row["epoch"] for row in progress.history] == [1, 2, 3, 4]
    assert (progress.best_epoch, progress.best_value) == (2, 0.5)
    assert same(weights(trainer), kept[1])
    assert not same(weights(trainer), kept[3])


@pytest.mark.parametrize(
    ("select_by", "best"), [("score", 2), ("loss", 2), ("last", 3), ("micro_f1", 1)]
)
def test_the_epoch_is_chosen_as_the_recipe_says(
    select_by: str, best: int, make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    trainer = make_trainer(epochs=3, select_by=select_by)
    scripted(trainer, [0.2, 0.5, 0.4])
    validate = trainer._validate
    trainer._validate = lambda valid: {**validate(valid), "micro_f1": 0.3}
    progress = trainer.fit(make_rows(8), make_rows(4), tmp_path, STAMP, "macro_f1")
    assert progress.best_epoch == best


def test_no_epoch_leaves_the_encoder_as_it_came(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    trainer = make_trainer(epochs=0)
    before = weights(trainer)
    progress = trainer.fit(make_rows(8), make_rows(4), tmp_path, STAMP, "macro_f1")
    assert (progress.best_epoch, progress.history) == (0, [])
    assert same(weights(trainer), before)
    assert trainer.predict(make_rows(4)).shape == (4, 3)


def fit(make_trainer: Any, make_rows: Any, folder: Path, **fields: Any) -> Any:
    events: list[Event] = []
    stop_after = fields.pop("stop_after", None)
    stamp = fields.pop("stamp", STAMP)
    trainer = make_trainer(events, **{"epochs": 5, **fields})
    if stop_after is not None:
        train = trainer._train_epoch

        def interrupted(epoch: int, *args: Any) -> Event:
            if epoch == stop_after + 1:
                raise Interrupted
            return train(epoch, *args)

        trainer._train_epoch = interrupted
    valid = make_rows(12, seed=1)
    progress = trainer.fit(make_rows(21), valid, folder, stamp, "macro_f1")
    return trainer, progress, trainer.predict(valid), events


def plain(history: list[Event]) -> list[Event]:
    """Without what is measured in seconds or bytes."""
    moment = {"seconds", "rows_per_second", "peak_rss_mb"}
    return [{k: v for k, v in row.items() if k not in moment} for row in history]


def test_the_same_training_gives_the_same_bits(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    first, first_progress, first_probs, _ = fit(make_trainer, make_rows, tmp_path / "a")
    again, again_progress, again_probs, _ = fit(make_trainer, make_rows, tmp_path / "b")
    assert same(weights(first), weights(again))
    assert plain(first_progress.history) == plain(again_progress.history)
    assert first_probs.tobytes() == again_probs.tobytes()
    other, *_ = fit(make_trainer, make_rows, tmp_path / "c", seed=1)
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize("fields", [{}, {"accumulation": 3, "freeze_embeddings": True}])
def test_a_resumed_training_is_the_uninterrupted_one(
    fields: Event, make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    whole, progress, probs, _ = fit(make_trainer, make_rows, tmp_path / "whole", **fields)
    for stop_after in range(1, 5):
        folder = tmp_path / str(stop_after)
        with pytest.raises(Interrupted):
            fit(make_trainer, make_rows, folder, stop_after=stop_after, **fields)
        torch.manual_seed(99)  # whatever the process has drawn since
        resumed, again, found, events = fit(make_trainer, make_rows, folder, **fields)
        assert {"event": "resumed", "epoch": stop_after, "step": 0} in events
        assert same(weights(resumed), weights(whole))
        assert plain(again.history) == plain(progress.history)
        assert (again.best_epoch, again.best_value) == (progress.best_epoch, progress.best_value)
        assert found.tobytes() == probs.tobytes()


def test_a_training_interrupted_after_every_epoch_is_the_uninterrupted_one(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    whole, _, probs, _ = fit(make_trainer, make_rows, tmp_path / "whole")
    for stop_after in range(1, 5):
        with pytest.raises(Interrupted):
            fit(make_trainer, make_rows, tmp_path / "parts", stop_after=stop_after)
    resumed, _, found, _ = fit(make_trainer, make_rows, tmp_path / "parts")
    assert same(weights(resumed), weights(whole))
    assert found.tobytes() == probs.tobytes()


def test_a_checkpoint_of_another_machine_is_not_continued(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        fit(make_trainer, make_rows, tmp_path, stop_after=2)
    *_, events = fit(make_trainer, make_rows, tmp_path, stamp={"threads": 2})
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert notes == ["fold 0 starts again: threads was 1 and is 2"]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1, 2, 3, 4, 5]


def test_two_checkpoints_are_kept_and_none_of_the_last_epoch(
    make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    fit(make_trainer, make_rows, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0003", "epoch-0004"]


def test_differences_are_described() -> None:
    assert describe_difference({"a": 1, "b": 2}, {"a": 1, "c": 3}) == (
        "b was 2 and is None; c was None and is 3"
    )
