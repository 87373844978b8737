"""Batches: every row once, of like length together, laid out as memory allows."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from semeval_kit.errors import KitError, explain_error
from semeval_kit.training import loop
from semeval_kit.training import steps as steps_module
from semeval_kit.training.batches import (
    in_halves,
    lay_out_ahead,
    pad_batch,
    plain_batches,
    training_batches,
)
from semeval_kit.training.tokens import Tokens

# A kernel that cannot begin, cuBLAS, and a Mac: none of them has torch's class for it.
NO_MEMORY = (
    "CUDA error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "MPS backend out of memory (MPS allocated: 8.89 GB, other allocations: 172.98 MB)",
)
NO_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "head_dropout": 0.0}


@pytest.fixture
def lengths() -> list[int]:
    draw = random.Random(1)
    return [draw.randint(3, 60) for _ in range(1_234)]


def test_every_row_comes_once(lengths: list[int]) -> None:
    batches = training_batches(lengths, 16, "0:0:1")
    assert sorted(row for batch in batches for row in batch) == list(range(1_234))
    assert len(batches) == 78
    assert sorted(map(len, batches)) == [2] + [16] * 77


def test_the_order_is_the_same_for_the_same_seed_alone(lengths: list[int]) -> None:
    first = training_batches(lengths, 16, "0:0:1")
    assert training_batches(lengths, 16, "0:0:1") == first
    for other in ("0:0:2", "0:1:1", "1:0:1"):
        assert training_batches(lengths, 16, other) != first


def test_like_lengths_stand_together(lengths: list[int]) -> None:
    def padding(batches: list[list[int]]) -> float:
        cells = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
        return 1 - sum(lengths) / cells

    rows = list(range(len(lengths)))
    unsorted = [rows[i : i + 16] for i in range(0, len(rows), 16)]
    assert padding(unsorted) > 0.4
    assert padding(training_batches(lengths, 16, "x")) < 0.05
    assert padding(plain_batches(lengths, 16)) < 0.03


def test_short_and_long_batches_are_mixed(lengths: list[int]) -> None:
    widths = [max(lengths[row] for row in b) for b in training_batches(lengths, 16, "x")]
    rising = sum(a <= b for a, b in zip(widths, widths[1:], strict=False)) / (len(widths) - 1)
    assert 0.3 < rising < 0.7


def test_plain_batches_go_from_short_to_long(lengths: list[int]) -> None:
    batches = plain_batches(lengths, 100)
    order = [row for batch in batches for row in batch]
    assert sorted(order) == list(range(1_234))
    assert [lengths[row] for row in order] == sorted(lengths)
    assert plain_batches([], 8) == []


def test_padding_is_on_the_right_and_masked() -> None:
    batch = pad_batch(Tokens.of([[5, 6, 7], [8]]), pad_id=9)
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["input_ids"].dtype == torch.long


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.classifier.named_parameters()}


def limit_memory(
    trainer: Any,
    most: int,
    patch: pytest.MonkeyPatch,
    told: str = "",
) -> list[int]:
    """Let no more than so many rows be read at once; gives how many were."""
    forward, read = trainer.classifier.forward, []

    def limited(input_ids: torch.Tensor, *args: Any, **inputs: Any) -> Any:
        if len(input_ids) > most:
            raise RuntimeError(told) if told else torch.OutOfMemoryError("CUDA out of memory.")
        read.append(len(input_ids))
        return forward(input_ids, *args, **inputs)

    patch.setattr(trainer.classifier, "forward", limited)
    return read


def fit(trainer: Any, make_rows: Any, folder: Path) -> Any:
    return trainer.fit(make_rows(21), make_rows(7, seed=1), folder, {}, "macro_f1")


def test_short_memory_halves_what_is_read_and_not_what_is_learnt(
    make_trainer: Any, make_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"batch_size": 8, "eval_batch_size": 7, **NO_DROPOUT}
    plain = make_trainer(**fields)
    progress = fit(plain, make_rows, tmp_path / "plain")
    events: list[dict[str, Any]] = []
    short = make_trainer(events, **fields)
    read = limit_memory(short, 3, monkeypatch)
    found = fit(short, make_rows, tmp_path / "short")
    assert max(read) <= 3
    assert [e["text"] for e in events if e["event"] == "note"] == [
        f"the GPU's memory does not suffice for {most} rows at once: {fewer} are read at a time, "
        "and as many as before make a step"
        for most, fewer in ((8, 4), (4, 2))
    ]
    for name, value in weights(short).items():
        assert torch.allclose(value, weights(plain)[name], atol=2e-4), name
    for one, other in zip(progress.history, found.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)


def test_what_was_laid_out_ahead_is_cut_as_memory_allows(
    make_trainer: Any, make_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"batch_size": 8, "eval_batch_size": 7}
    at_once = make_trainer(**fields)
    limit_memory(at_once, 3, monkeypatch)
    fit(at_once, make_rows, tmp_path / "at-once")
    # As on a GPU: a thread has laid out the next steps when memory falls short.
    monkeypatch.setattr(
        loop, "lay_out_ahead", lambda *given: lay_out_ahead(*given[:2], torch.device("cuda"))
    )
    events: list[dict[str, Any]] = []
    ahead = make_trainer(events, **fields)
    limit_memory(ahead, 3, monkeypatch)
    fit(ahead, make_rows, tmp_path / "ahead")
    assert ahead.rows_at_once == 2
    assert [e["event"] for e in events].count("note") == 2
    assert all(torch.equal(value, weights(ahead)[name]) for name, value in weights(at_once).items())


def test_after_a_kill_as_many_rows_are_read_at_once_as_before(
    make_trainer: Any, make_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_trainer(batch_size=8, checkpoint_minutes=1e-9)
    limit_memory(whole, 3, monkeypatch)
    fit(whole, make_rows, tmp_path / "whole")
    killed = make_trainer(batch_size=8, checkpoint_minutes=1e-9)
    limit_memory(killed, 3, monkeypatch)
    step, done = killed._step, []

    def counted(*args: Any) -> Any:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(1)
        return step(*args)

    monkeypatch.setattr(killed, "_step", counted)
    with pytest.raises(KeyboardInterrupt):
        fit(killed, make_rows, tmp_path / "killed")
    events: list[dict[str, Any]] = []
    again = make_trainer(events, batch_size=8, checkpoint_minutes=1e-9)
    limit_memory(again, 3, monkeypatch)
    fit(again, make_rows, tmp_path / "killed")
    assert events[0]["event"] == "resumed"
    assert not any("does not suffice" in event.get("text", "") for event in events)
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(whole).items())


def test_memory_for_no_row_is_told(
    make_trainer: Any, make_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer()
    limit_memory(trainer, 0, monkeypatch)
    with pytest.raises(KitError, match=r"for 1 row at once\. Lower max_length or batch_size"):
        fit(trainer, make_rows, tmp_path)
    told = explain_error(torch.OutOfMemoryError("CUDA out of memory")).message
    assert "Lower batch_size" in told
    assert "fault of semeval-kit" not in told


def test_rows_come_back_in_order_however_memory_cuts_them() -> None:
    def compute(rows: list[int]) -> torch.Tensor:
        if len(rows) > 2:
            raise torch.OutOfMemoryError
        return torch.tensor(rows)[:, None]

    assert in_halves([5, 3, 9, 1, 7], compute).flatten().tolist() == [5, 3, 9, 1, 7]

    def never(rows: list[int]) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(KitError, match="does not suffice for one row"):
        in_halves([1, 2, 3], never)


@pytest.mark.parametrize("told", NO_MEMORY)
def test_memory_may_be_short_in_other_words_than_those_of_the_allocator(told: str) -> None:
    def compute(rows: list[int]) -> torch.Tensor:
        if len(rows) > 1:
            raise RuntimeError(told)
        return torch.tensor(rows)[:, None]

    assert in_halves([5, 3, 9], compute).flatten().tolist() == [5, 3, 9]
    assert "Lower batch_size" in explain_error(RuntimeError(told)).message


def test_what_is_not_short_memory_is_not_tried_again() -> None:
    def compute(rows: list[int]) -> torch.Tensor:
        raise RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")

    with pytest.raises(RuntimeError, match="size of tensor a"):
        in_halves([5, 3, 9], compute)


def test_a_step_is_done_again_where_cublas_has_no_memory(
    make_trainer: Any, make_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, short = (
        make_trainer(batch_size=8, **NO_DROPOUT),
        make_trainer(batch_size=8, **NO_DROPOUT),
    )
    fit(plain, make_rows, tmp_path / "plain")
    limit_memory(short, 4, monkeypatch, NO_MEMORY[1])
    fit(short, make_rows, tmp_path / "short")
    assert short.rows_at_once == 4
    for name, value in weights(short).items():
        assert torch.allclose(value, weights(plain)[name], atol=2e-4), name


def test_a_thread_lays_out_ahead_of_a_gpu_and_ends_with_it() -> None:
    places: list[str] = []

    def lay_out(number: int) -> int:
        places.append(threading.current_thread().name)
        return number * 10

    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert list(lay_out_ahead(range(30), lay_out, gpu)) == [n * 10 for n in range(30)]
    assert threading.current_thread().name not in places
    before = len(places)
    ahead: Iterator[int] = lay_out_ahead(range(30), lay_out, gpu)
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined]
    assert len(places) - before < 30
    assert not [t for t in threading.enumerate() if t.name in places and t.is_alive()]
    places.clear()
    assert list(lay_out_ahead(range(3), lay_out, cpu)) == [0, 10, 20]
    assert set(places) == {threading.current_thread().name}


def test_losses_looked_at_late_are_the_same(
    make_trainer: Callable[..., Any],
    make_rows: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[dict[str, Any]] = []
    at_once = make_trainer(events)
    history = fit(at_once, make_rows, tmp_path / "at-once").history
    steps = [e["step"] for e in events if e["event"] == "step"]
    assert steps == [*range(1, 7), *range(1, 7)]
    # As on a GPU: nothing is looked at before the last step of an epoch.
    events.clear()
    late = make_trainer(events)
    monkeypatch.setattr(steps_module, "look_seconds", lambda device: 1e9)
    monkeypatch.setattr(late, "_require_finite", lambda *args: None)
    found = fit(late, make_rows, tmp_path / "late").history
    assert [e["step"] for e in events if e["event"] == "step"] == [6, 6]
    timing = ("seconds", "rows_per_second", "peak_rss_mb")
    assert [{k: v for k, v in row.items() if k not in timing} for row in found] == [
        {k: v for k, v in row.items() if k not in timing} for row in history
    ]
