"""How folds are laid over a machine, and what is recorded of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from semeval_kit import __version__
from semeval_kit.errors import KitError
from semeval_kit.training import machine
from semeval_kit.training.checkpoint import load_newest
from semeval_kit.training.machine import (
    Slots,
    choose_precision,
    describe_machine,
    describe_versions,
    fingerprint,
    plan_slots,
)

MINILM = 90_000_000
LARGE = 1_400_000_000


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without accelerator, with 8 cores and 16 GB."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(machine, "count_cores", lambda: 8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16e9))
    return monkeypatch


def test_folds_run_side_by_side_on_a_cpu(on_cpu: pytest.MonkeyPatch) -> None:
    assert plan_slots(5, None, None, MINILM) == Slots(5, (1,) * 5)
    assert plan_slots(2, None, None, MINILM) == Slots(2, (4, 4))
    on_cpu.setattr(machine, "count_cores", lambda: 2)
    assert plan_slots(1, None, None, MINILM) == Slots(1, (2,))


def test_folds_that_are_left_over_share_all_cores(on_cpu: pytest.MonkeyPatch) -> None:
    assert plan_slots(10, None, None, MINILM) == Slots(8, (1,) * 8 + (4, 4))
    on_cpu.setattr(machine, "count_cores", lambda: 2)
    assert plan_slots(5, None, None, MINILM) == Slots(2, (1, 1, 1, 1, 2))
    assert str(plan_slots(5, None, None, MINILM)) == "2 at a time, 1 or 2 threads each"
    assert plan_slots(5, None, 1, MINILM) == Slots(2, (1,) * 5)


def test_no_more_folds_than_fit_into_memory(on_cpu: pytest.MonkeyPatch) -> None:
    assert plan_slots(5, None, None, LARGE) == Slots(1, (8,) * 5)
    on_cpu.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=2e9))
    assert plan_slots(5, None, None, LARGE).jobs == 1


def test_a_person_may_choose(on_cpu: pytest.MonkeyPatch) -> None:
    assert plan_slots(6, 3, None, LARGE) == Slots(3, (2,) * 6)
    assert plan_slots(5, 3, 7, MINILM) == Slots(3, (7,) * 5)
    assert plan_slots(5, 16, None, MINILM).threads == (1,) * 5


def pretend_gpus(patch: pytest.MonkeyPatch, number: int, gigabytes: int = 80) -> None:
    properties = SimpleNamespace(total_memory=gigabytes * 10**9)
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: number)
    patch.setattr(torch.cuda, "get_device_properties", lambda _: properties)


def test_processes_of_a_fold_are_counted(on_cpu: pytest.MonkeyPatch) -> None:
    assert plan_slots(5, None, None, MINILM, 4) == Slots(2, (1, 1, 1, 1, 2), (), 4)
    pretend_gpus(on_cpu, 4)
    assert plan_slots(5, None, None, LARGE, 4) == Slots(1, (2,) * 5, ((0, 1, 2, 3),), 4)
    two = plan_slots(5, None, None, LARGE, 2)
    assert two == Slots(2, (2,) * 5, ((0, 1), (2, 3)), 2)
    assert str(two) == "2 at a time, 2 processes and 2 threads each"
    with pytest.raises(KitError, match="--processes 5: .* this machine has 4"):
        plan_slots(5, None, None, LARGE, 5)


def test_small_encoders_share_a_gpu_as_far_as_its_memory_goes(on_cpu: pytest.MonkeyPatch) -> None:
    pretend_gpus(on_cpu, 1)
    assert plan_slots(5, None, None, MINILM) == Slots(4, (2,) * 5, ((0,),) * 4)
    assert plan_slots(5, 1, None, MINILM).jobs == 1
    assert plan_slots(5, None, None, LARGE).jobs == 1
    pretend_gpus(on_cpu, 2, gigabytes=8)
    two_each = plan_slots(5, None, None, MINILM)
    assert two_each.devices == ((0,), (1,), (0,), (1,))
    pretend_gpus(on_cpu, 1, gigabytes=2)
    assert plan_slots(5, None, None, MINILM).jobs == 1


def test_a_fold_that_feeds_a_gpu_has_a_core(on_cpu: pytest.MonkeyPatch) -> None:
    on_cpu.setattr(machine, "count_cores", lambda: 2)  # as on Colab
    pretend_gpus(on_cpu, 1, gigabytes=16)
    assert plan_slots(10, None, None, MINILM) == Slots(2, (1,) * 10, ((0,),) * 2)
    assert plan_slots(10, 4, None, MINILM).jobs == 4
    on_cpu.setattr(machine, "count_cores", lambda: 4)  # as on Kaggle, with two GPUs
    pretend_gpus(on_cpu, 2, gigabytes=16)
    assert plan_slots(10, None, None, MINILM).devices == ((0,), (1,), (0,), (1,))
    on_cpu.setattr(machine, "count_cores", lambda: 1)
    assert plan_slots(10, None, None, MINILM).devices == ((0,), (1,))


def test_a_mac_has_one_gpu(on_cpu: pytest.MonkeyPatch) -> None:
    on_cpu.setattr(torch.backends.mps, "is_available", lambda: True)
    assert plan_slots(5, None, None, MINILM) == Slots(1, (8,) * 5)
    with pytest.raises(KitError, match="--processes 2: .* a Mac has one"):
        plan_slots(5, None, None, MINILM, 2)


def test_one_fold_of_a_large_encoder_per_gpu(on_cpu: pytest.MonkeyPatch) -> None:
    pretend_gpus(on_cpu, 4)
    assert plan_slots(5, None, None, LARGE) == Slots(4, (2,) * 5, ((0,), (1,), (2,), (3,)))
    assert plan_slots(2, None, None, LARGE) == Slots(2, (4, 4), ((0,), (1,)))
    assert plan_slots(9, 8, None, LARGE).devices == ((0,), (1,), (2,), (3,)) * 2


def test_precision_is_the_fast_one_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ("fp32", "bf16", "fp16"):
        assert choose_precision(asked, "cuda") == asked
    assert choose_precision("bf16", "cpu") == "bf16"
    # accelerate would compute in fp32, and done.json would not say so.
    with pytest.raises(KitError, match="'fp16' needs a GPU, and this machine has none"):
        choose_precision("fp16", "cpu")
    fast = {"amx": False, "avx": False}
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: fast["amx"])
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast["avx"])
    assert choose_precision("auto", "cpu") == "fp32"
    for feature in fast:
        fast[feature] = True
        assert choose_precision("auto", "cpu") == "bf16"
        fast[feature] = False
    assert choose_precision("auto", "mps") == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert choose_precision("auto", "cuda") == "fp32"


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {1, 5, 6}, raising=False)
    assert machine.count_cores() == 3


def test_the_fingerprint_holds_what_decides_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.delenv("MKL_CBWR", raising=False)
    found = fingerprint(2, 1, "cpu", "bf16")
    assert found == {
        "torch": torch.__version__,
        "device": "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": 2,
        "processes": 1,
        "precision": "bf16",
        "ATEN_CPU_CAPABILITY": "default",
    }


def test_beside_a_gpu_the_processor_decides_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that is lost comes back on another processor, and its fold goes on."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    found = fingerprint(2, 1, "cuda", "fp16")
    assert found == {
        "torch": torch.__version__,
        "device": "Tesla T4",
        "processes": 1,
        "precision": "fp16",
    }
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    assert fingerprint(1, 1, "cuda", "fp16") == found


def test_what_readers_need_is_recorded() -> None:
    found = describe_machine()
    assert set(found) == {"cpu", "cores", "memory_gb", "device", "cpu_capability", "system"}
    assert found["cpu"]
    versions = describe_versions()
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert versions["semeval-kit"] == __version__
    assert {"python", "transformers", "accelerate", "tokenizers", "numpy"} <= set(versions)


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in machine.LEAVING_SIGNALS}
    machine.leave_when_told()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def fit(trainer: Any, make_rows: Any, folder: Path) -> dict[str, torch.Tensor]:
    trainer.fit(make_rows(21), make_rows(12, seed=1), folder, {"threads": 1}, "macro_f1")
    return {name: p.detach().clone() for name, p in trainer.classifier.named_parameters()}


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP"])
def test_at_once_where_nothing_is_being_learnt(name: str) -> None:
    number = getattr(signal, name)
    with pytest.raises(SystemExit) as left:
        signal.raise_signal(number)
    assert left.value.code == 128 + number


@pytest.mark.usefixtures("handlers")
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
    assert machine.grace_seconds(4.0) == 4.0
    monkeypatch.setenv(machine.GRACE, "50")
    assert machine.grace_seconds(4.0) == 50.0
