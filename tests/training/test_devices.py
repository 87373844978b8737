"""What a GPU does with a fold, as far as a machine without one can tell.

"meta" is a device that refuses to mix with the CPU, as a GPU does; fp16 and its loss scale are
computed on the CPU. `tests/benchmarks/check_gpu.py` is for a machine that has a GPU.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semeval_kit.training.batches import Rows, send
from semeval_kit.training.loop import FoldTrainer
from semeval_kit.training.recipe import make_recipe
from semeval_kit.training.steps import Pace, make_accelerator
from semeval_kit.training.targets import Target, Targets
from semeval_kit.training.tokens import Tokens

LEVERS = {"rdrop": 1.0, "fgm": 0.5, "ema": 0.9, "multi_dropout": 3, "label_smoothing": 0.1}
KINDS = Targets(
    (
        Target("multilabel", ("a", "b", "c")),
        Target("singlelabel", ("x", "y")),
        Target("regression", ("n",), bounded=False, auxiliary=True),
    )
)


class Told(Exception):
    """What a test hears of the first steps."""


def make_rows_of_all_kinds(n: int) -> Rows:
    """Rows with targets of every kind, weights, and two languages."""
    draw = np.random.default_rng(0)
    ids = [[2, *draw.integers(25, 60, size=draw.integers(2, 9)).tolist(), 3] for _ in range(n)]
    labels = (draw.random((n, 3)) < 0.4).astype(float)
    gold = [labels, np.eye(2)[draw.integers(0, 2, n)], draw.random((n, 1))]
    languages = np.arange(n, dtype=np.int64) % 2
    return Rows(
        tuple(map(str, range(n))),
        Tokens.of(ids),
        np.concatenate(gold, axis=1),
        np.where(np.arange(n) % 3 == 0, 0.5, 1.0),
        languages,
    )


@pytest.fixture
def far(fresh_accelerate: None, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that is not the CPU, and whose numbers nobody can read."""
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")
    # It reads the mask, which no other line of a forward pass does.
    monkeypatch.setattr(
        "transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *_, **__: False
    )
    return torch.device("meta")


class Crossings(TorchDispatchMode):
    """Notes what goes from the CPU to another device: its shape and dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], torch.dtype]] = []

    def __torch_dispatch__(
        self, call: Any, types: Any, args: tuple[Any, ...] = (), given: Any = None
    ) -> Any:
        result = call(*args, **(given or {}))
        sources = [a for a in args if isinstance(a, torch.Tensor)]
        if (
            isinstance(result, torch.Tensor)
            and result.device.type == "meta"
            and any(s.device.type == "cpu" and s.dim() for s in sources)
        ):
            self.seen += [(tuple(s.shape), s.dtype) for s in sources if s.device.type == "cpu"]
        return result


def take_two_steps(trainer: Any, rows: Rows, folder: Path, patch: pytest.MonkeyPatch) -> Any:
    """The second step of a fold, and what crossed to the device in it."""
    crossings = Crossings()

    def twice(self: Pace, ready: Iterator[Any], first: int, take: Any, *_: Any) -> None:
        take(next(iter(ready)), 0)
        with crossings:
            raise Told(take(next(iter(ready)), 1))

    patch.setattr(Pace, "take", twice)
    # A real GPU moves parameters in place; to "meta" they are made anew, before an optimizer knows.
    trainer.classifier.to("meta")
    with pytest.raises(Told) as told:
        trainer.fit(rows, rows, folder, {}, "macro_f1")
    return told.value.args[0], crossings.seen


def test_every_tensor_of_a_step_is_on_the_device(
    family: str,
    tiny_encoder: Callable[[str], Path],
    far: torch.device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = {"encoder": str(tiny_encoder(family)), "batch_size": 4, "accumulation": 2, **LEVERS}
    recipe |= {"positive_weight": "balanced", "positive_weight_by": "language"}
    if family == "modernbert":  # has a mean of its own
        del recipe["multi_dropout"]
    trainer = FoldTrainer(
        make_recipe({"precision": "fp32", **recipe}, "a test"),
        KINDS,
        *(0, 0),
        accelerator=make_accelerator("fp32", 0),
        emit=lambda _: None,
    )
    assert trainer.accelerator.device == far
    taken, crossed = take_two_steps(trainer, make_rows_of_all_kinds(24), tmp_path, monkeypatch)
    assert taken._figures.device == far
    moments = [m["exp_avg"] for m in trainer.steps.optimizer.state.values()]
    assert moments
    for tensor in (*trainer.classifier.parameters(), *moments, *trainer.average.weights.values()):
        assert tensor.device == far
    # A step asks the CPU for its rows, and once for the number of terms of each of three targets;
    # the weights of labels (in two languages) and of targets are there.
    assert crossed.count(((3,), torch.float32)) == 1
    assert ((2, 6), torch.float32) not in crossed


def test_only_cuda_is_not_waited_for() -> None:
    """An MPS device may read memory that was given back, and compute with what lies there."""
    asked: dict[str, bool] = {}

    def to(device: torch.device, *, non_blocking: bool) -> None:
        asked[device.type] = non_blocking

    tensor: Any = SimpleNamespace(to=to)
    for kind in ("cpu", "mps", "cuda"):
        send(tensor, torch.device(kind))
    assert asked == {"cpu": False, "mps": False, "cuda": True}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: run the script itself")
def test_the_script_for_a_machine_with_a_gpu_says_that_there_is_none() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "check_gpu.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no GPU: torch sees none on this machine, so nothing was checked." in done.stderr


@pytest.mark.parametrize(("kind", "attention"), [("mps", "eager"), ("cuda", "sdpa")])
def test_a_mac_computes_attention_step_by_step(kind: str, attention: str, tiny_bert: Path) -> None:
    accelerator: Any = SimpleNamespace(device=torch.device(kind))
    recipe = make_recipe({"encoder": str(tiny_bert)}, "a test")
    trainer = FoldTrainer(recipe, KINDS, 0, 0, accelerator=accelerator, emit=lambda _: None)
    assert trainer.classifier.network.config._attn_implementation == attention


@pytest.fixture
def make_half(
    fresh_accelerate: None, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Make a trainer in fp16 with a loss scale, as on a GPU without bf16, but on the CPU."""
    from accelerate import Accelerator

    def make(scale: float, **fields: Any) -> Any:
        accelerator = Accelerator(mixed_precision="fp16", cpu=True)
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=3)
        recipe = {"encoder": str(tiny_bert), "batch_size": 4, "epochs": 2, "lr": 1e-3, **fields}
        return FoldTrainer(
            make_recipe({"precision": "fp16", **recipe}, "a test"),
            Targets((Target("multilabel", ("anger", "fear", "joy")),)),
            *(0, 0),
            accelerator=accelerator,
            emit=lambda _: None,
        )

    return make


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.classifier.named_parameters()}


def fit(trainer: Any, make_rows: Any, folder: Path) -> Any:
    return trainer.fit(make_rows(21), make_rows(12, seed=1), folder, {}, "macro_f1")


def test_fp16_learns_and_its_loss_scale_survives_a_kill_to_the_bit(
    make_half: Callable[..., Any], make_rows: Any, tmp_path: Path
) -> None:
    # A scale that overflows at first, falls until it fits, and grows again.
    fields = {"checkpoint_minutes": 1e-9, "select_by": "last", "fgm": 0.5}
    whole = make_half(2.0**26, **fields)
    before = weights(whole)
    fit(whole, make_rows, tmp_path / "whole")
    assert whole.accelerator.scaler.get_scale() < 2.0**26
    assert any(not torch.equal(w, before[name]) for name, w in weights(whole).items())
    for n_steps in (3, 8):
        folder = tmp_path / str(n_steps)
        killed, done = make_half(2.0**26, **fields), []
        step = killed._step

        def counted(*args: Any, step: Any = step, done: Any = done, most: int = n_steps) -> Any:
            if len(done) == most:
                raise KeyboardInterrupt
            done.append(1)
            return step(*args)

        killed._step = counted
        with pytest.raises(KeyboardInterrupt):
            fit(killed, make_rows, folder)
        again = make_half(2.0**26, **fields)
        fit(again, make_rows, folder)
        assert again.accelerator.scaler.state_dict() == whole.accelerator.scaler.state_dict()
        assert all(torch.equal(w, weights(again)[name]) for name, w in weights(whole).items())


def test_a_step_that_overflows_in_fp16_changes_nothing_and_the_rate_goes_on(
    make_half: Callable[..., Any], make_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_half(2.0**120, warmup=0.0, ema=0.9)
    before = weights(trainer)
    rates: list[float] = []

    def once(self: Pace, ready: Iterator[Any], first: int, take: Any, *_: Any) -> None:
        for number, each in zip(range(2), ready, strict=False):
            take(each, number)
            rates.append(trainer.steps.lr)
        raise Told

    monkeypatch.setattr(Pace, "take", once)
    with pytest.raises(Told):
        fit(trainer, make_rows, tmp_path)
    assert trainer.accelerator.scaler.get_scale() == 2.0**118
    assert all(torch.equal(w, before[name]) for name, w in weights(trainer).items())
    assert rates == pytest.approx([1e-3 * 11 / 12, 1e-3 * 10 / 12])
