"""What a process that is told to leave does before."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from semeval_kit.training import leaving
from semeval_kit.training.checkpoint import load_newest

pytestmark = pytest.mark.trains


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in leaving.LEAVING_SIGNALS}
    leaving.leave_when_told()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def fit(trainer: Any, make_rows: Any, folder: Path) -> dict[str, torch.Tensor]:
    trainer.fit(make_rows(21), make_rows(12, seed=1), folder, {"threads": 1}, "macro_f1")
    return {name: p.detach().clone() for name, p in trainer.classifier.named_parameters()}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP"])
def test_at_once_where_nothing_is_being_learnt(name: str) -> None:
    number = getattr(signal, name)
    with pytest.raises(SystemExit) as left:
        signal.raise_signal(number)
    assert left.value.code == 128 + number


# 21 rows by 4 are 6 steps an epoch: in an epoch, after its last step, in the next one.
@pytest.mark.parametrize("n_steps", [2, 6, 9])
def test_a_step_is_finished_and_its_checkpoint_goes_on_to_the_same_bits(
    n_steps: int, make_trainer: Any, make_rows: Any, tmp_path: Path
) -> None:
    whole = fit(make_trainer(), make_rows, tmp_path / "whole")
    told = make_trainer()
    step, steps = told._step, []

    def strike(*args: Any) -> Any:
        steps.append(1)
        if len(steps) == n_steps:
            signal.raise_signal(signal.SIGUSR2)
        return step(*args)

    told._step = strike
    with pytest.raises(SystemExit) as left:
        fit(told, make_rows, tmp_path / "told")
    assert (left.value.code, len(steps)) == (128 + signal.SIGUSR2, n_steps)
    kept = load_newest(tmp_path / "told", pytest.fail)
    assert kept is not None
    assert 6 * kept.epoch + kept.step == n_steps
    again = fit(make_trainer(), make_rows, tmp_path / "told")
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_how_long_it_may_take_is_said_by_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leaving.grace_seconds(4.0) == 4.0
    monkeypatch.setenv(leaving.GRACE, "50")
    assert leaving.grace_seconds(4.0) == 50.0
