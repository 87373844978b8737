"""What the machine can do, and when it tells a process to leave.

How many folds side by side, threads for each, and which precision. A scheduler sends a signal some
time before it kills: while a fold's steps are taken the signal is only noted, so that what it has
learnt is written between two of them.
"""

from __future__ import annotations

import os
import platform
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from types import FrameType
from typing import Any

import psutil

from semeval_kit import __version__
from semeval_kit.errors import KitError

_RECORDED = ("torch", "transformers", "accelerate", "tokenizers", "numpy")
_NUMERIC_ENV = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA")

GRACE = "SEMEVAL_KIT_GRACE_SECONDS"
LEAVING_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


@dataclass(frozen=True)
class Slots:
    """How folds are laid over the machine.

    Attributes:
        jobs: folds at a time.
        threads: of each process of a fold, for every fold of the run. Threads decide the last
            bits, so they go by the fold and not by what else is at work.
        devices: CUDA device numbers of each job; empty on a CPU.
        processes: of each fold that trains.
    """

    jobs: int
    threads: tuple[int, ...]
    devices: tuple[tuple[int, ...], ...] = ()
    processes: int = 1

    def __str__(self) -> str:
        """Say it to a person."""
        each = " or ".join(map(str, sorted(set(self.threads))))
        processes = f"{self.processes} processes and " if self.processes > 1 else ""
        threads = "thread" if each == "1" else "threads"
        return f"{self.jobs} at a time, {processes}{each} {threads} each"


def plan_slots(
    n_folds: int, jobs: int | None, threads: int | None, model_bytes: int, processes: int = 1
) -> Slots:
    """Choose how many folds run at a time, and with how many threads.

    On a CPU folds run side by side with one thread each, as far as cores and memory go: for
    small batches that gave 1.4 to 1.65 times the rows per second of one fold with all threads.
    Folds that are left over at the end share all cores: the last of five on two cores has both.
    On GPUs small encoders, which do not fill one, share it as far as its memory goes and there is a
    core for each fold: what feeds a GPU keeps one busy.

    Args:
        n_folds: folds of the run, whichever of them are to be trained now.
        jobs: a person's choice, or None.
        threads: a person's choice, or None.
        model_bytes: size of the weights in fp32; training takes about six times that.
        processes: per fold.

    Raises:
        KitError: a fold is to have more processes than there are GPUs; a Mac has one.
    """
    import torch

    cores, n_folds = count_cores(), max(n_folds, 1)
    if torch.cuda.is_available():
        n_devices = torch.cuda.device_count()
        if processes > n_devices:
            raise KitError(
                f"--processes {processes}: a process needs a GPU of its own, and this machine has "
                f"{n_devices}. Use --processes {n_devices} or fewer."
            )
        groups = n_devices // processes
        sharing = min(_count_sharing(model_bytes), max(1, cores // (groups * processes)))
        at_a_time = min(jobs or groups * sharing, n_folds)
        devices = tuple(
            tuple(slot % groups * processes + process for process in range(processes))
            for slot in range(at_a_time)
        )
        each = threads or max(1, cores // (at_a_time * processes))
        return Slots(at_a_time, (each,) * n_folds, devices, processes)
    if torch.backends.mps.is_available():
        if processes > 1:
            raise KitError(
                f"--processes {processes}: a process needs a GPU of its own, and a Mac has one. "
                "Leave it out."
            )
        at_a_time = jobs or 1
        return Slots(at_a_time, (threads or max(1, cores // at_a_time),) * n_folds)
    per_job = processes * (1_000_000_000 + 6 * model_bytes)
    fitting = max(1, int(psutil.virtual_memory().total * 0.8 // per_job))
    at_a_time = jobs or max(1, min(n_folds, cores // processes, fitting))
    n_last = n_folds % at_a_time
    beside = [at_a_time] * (n_folds - n_last) + [n_last] * n_last
    return Slots(
        at_a_time,
        tuple(threads or max(1, cores // (side * processes)) for side in beside),
        (),
        processes,
    )


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_device_type() -> str:
    """What this process computes on: cuda, mps or cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_precision(asked: str, device_type: str) -> str:
    """Turn `auto` into bf16 where the device is fast at it, else fp32.

    Raises:
        KitError: fp16 is asked for and there is no GPU: `accelerate` would compute in fp32 then.
    """
    if asked == "fp16" and device_type == "cpu":
        raise KitError(
            "precision = 'fp16' needs a GPU, and this machine has none that torch sees. Choose one "
            "with a GPU, or set precision = 'auto'."
        )
    if asked != "auto":
        return asked
    import torch

    if device_type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device_type == "cpu":
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        return "bf16" if fast else "fp32"
    return "fp32"


def describe_machine() -> dict[str, Any]:
    """What a reader of the results needs to know about the machine."""
    import torch

    return {
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(logical=True),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "device": _name_device(find_device_type()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(terse=True),
    }


def describe_versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    recorded = {name: metadata.version(name) for name in _RECORDED}
    return {"python": sys.version.split()[0], "semeval-kit": __version__, **recorded}


def fingerprint(threads: int, world_size: int, device_type: str, precision: str) -> dict[str, Any]:
    """All that decides the bits of a result besides the recipe and the data.

    On a GPU the processor beside it has no say: a session that is lost comes back with another one.
    """
    import torch

    stamp = {
        "torch": torch.__version__,
        "device": _name_device(device_type),
        "processes": world_size,
        "precision": precision,
    }
    if device_type != "cpu":
        return stamp
    return {
        **stamp,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        **{name: os.environ[name] for name in _NUMERIC_ENV if name in os.environ},
    }


def peak_memory_mb() -> float:
    """Most memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def leave_when_told() -> None:
    """Let this process leave by an exception on the signals that ask for it."""
    for number in LEAVING_SIGNALS:
        signal.signal(number, _leave)


@contextmanager
def finish_step_first() -> Iterator[Callable[[], bool]]:
    """Only note a signal inside, and leave at the end; gives what tells whether one came."""
    _Told.is_deferred = True
    try:
        yield lambda: bool(_Told.number)
    finally:
        _Told.is_deferred = False
    number, _Told.number = _Told.number, 0
    if number:
        raise SystemExit(128 + number)


def grace_seconds(default: float) -> float:
    """How long a process that was told to leave may take: as a scheduler allows, or `default`."""
    return float(os.environ.get(GRACE, default))


def _count_sharing(model_bytes: int) -> int:
    """How many folds train on one GPU at a time.

    An encoder of 100 MB leaves most of a GPU idle, one of 1 GB does not. These numbers are from
    what is known of GPUs, not measured; memory that does not suffice halves the batches.
    """
    import torch

    per_job = 2_000_000_000 + 6 * model_bytes  # CUDA itself, activations; weights, moments, slopes
    smallest = min(
        torch.cuda.get_device_properties(number).total_memory
        for number in range(torch.cuda.device_count())
    )
    wanted = max(1, min(4, 600_000_000 // max(model_bytes, 1)))
    return max(1, min(wanted, int(smallest * 0.8) // per_job))


def _name_device(device_type: str) -> str:
    import torch

    return torch.cuda.get_device_name(0) if device_type == "cuda" else device_type


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [line for line in file if line.startswith("model name")]
    except OSError:
        models = []
    if models:
        return models[0].split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


class _Told:
    """What this process was told, and whether it is in the middle of a step."""

    number = 0
    is_deferred = False


def _leave(number: int, frame: FrameType | None) -> None:
    if _Told.is_deferred:
        _Told.number = number
        return
    raise SystemExit(128 + number)
