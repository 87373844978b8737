"""Folds side by side: one process each through `accelerate launch`, watched by this one."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

from tqdm import tqdm

from semeval_kit.errors import BusyError, KitError
from semeval_kit.files import refuse_link
from semeval_kit.plurals import count_noun
from semeval_kit.run.directory import Run
from semeval_kit.training.machine import LEAVING_SIGNALS, Slots, find_device_type, grace_seconds

Event = dict[str, Any]
_LOG_LINES = 20
# The score of an epoch that is shown: the first that it has.
_SHOWN_SCORES = {"macro_f1": "macro-F1 at 0.5", "spearman": "Spearman's rho"}
_GRACE_SECONDS = 4.0  # twice that at most, so that SIGTERM ends all within 10 seconds


@dataclass
class FoldJob:
    """A fold's process: what it does and how far it is."""

    kind: str
    fold: int
    name: str
    arguments: list[str]
    process: subprocess.Popen[str] | None = None
    slot: int = 0
    error: str = ""
    bar: Any = None
    log: IO[str] | None = field(default=None, repr=False)


def run_folds(
    run: Run,
    slots: Slots,
    *,
    train: Sequence[int] = (),
    predict: Sequence[int] = (),
    splits: Sequence[str] = (),
    say: Callable[[str], None],
    on_event: Callable[[Event], None] | None = None,
) -> None:
    """Run the processes of folds, as many at a time as there are slots.

    A fold is predicted with as soon as it is trained and a slot is free, so that the last fold to
    train does not leave the other slots idle.

    Raises:
        BusyError: other processes are at work on all folds that could not be done.
        KitError: a fold failed; the others were let finish. Its last words are quoted.
    """
    words = [word for split in splits for word in ("--split", split)]
    waiting = [
        FoldJob(kind, fold, run.name_model(fold), [kind, str(run.path), str(fold), *options])
        for kind, folds, options in (("train", train, []), ("predict", predict, words))
        for fold in folds
    ]
    running: list[FoldJob] = []
    failed: list[FoldJob] = []
    events: queue.Queue[tuple[FoldJob, Event | None]] = queue.Queue()
    display = _Display(say)
    with _exit_on_signals():
        try:
            while waiting or running:
                while len(running) < slots.jobs and (job := _take_ready(waiting, running)):
                    job.slot = min(set(range(slots.jobs)) - {other.slot for other in running})
                    running.append(job)
                    _start(run, job, slots, events)
                source, event = events.get()
                if event is not None:
                    display.show(source, event)
                    if on_event is not None:
                        on_event(event)
                    continue
                running.remove(source)
                if _ended_badly(run, source):
                    failed.append(source)
                    waiting = [job for job in waiting if job.fold != source.fold]
                display.close(source)
        except BaseException:
            _stop_all(running)
            raise
    if failed:
        codes = {job.process.returncode for job in failed if job.process is not None}
        kind = BusyError if codes == {BusyError.exit_code} else KitError
        raise kind(_describe_failures(run, failed))


def launch_command(arguments: Sequence[str], processes: int) -> list[str]:
    """The command line of a fold's process, or of the launcher of several.

    One process needs no launcher, and a person's `accelerate config` has no say in it: folds run
    side by side, each on the device that it is given. Several processes of one fold are started
    by `accelerate launch`; a config for several machines is honoured there, one for this machine
    alone is not asked. On a CPU `accelerate launch` starts one process whatever it is asked for,
    so there torch's own launcher does it.
    """
    worker = ["-m", "semeval_kit.training.worker", *arguments]
    if processes == 1 or arguments[0] == "predict":  # which has no gradients to exchange
        return [sys.executable, *worker]
    if find_device_type() == "cpu":
        launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        return [sys.executable, "-m", *launcher, *worker]
    # quiet: the launcher's own traceback would stand after the worker's, which is the one to read
    launcher = ["accelerate.commands.launch", "--quiet", f"--num_processes={processes}"]
    launcher += ["--gpu_ids=all", "--mixed_precision=no", "--dynamo_backend=no"]
    if not _config_spans_machines():  # port 0: any that is free, since folds run side by side
        launcher += ["--multi_gpu", "--num_machines=1", "--main_process_port=0"]
    return [sys.executable, "-m", *launcher, *worker]


class _Display:
    """A bar per fold on a terminal, a line per epoch elsewhere."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.bars = sys.stderr.isatty()

    def show(self, job: FoldJob, event: Event) -> None:
        """Show what a fold's process told."""
        kind = event["event"]
        if kind == "error":
            job.error = event["text"]
        elif kind in ("note", "resumed"):
            text = event.get("text") or f"goes on after epoch {event['epoch']}"
            text += f" and {count_noun(event['step'], 'step')}" if event.get("step") else ""
            self._line(f"{job.name}: {text}")
        elif kind == "epoch":
            self._line(_describe_epoch(job.name, event))
        elif self.bars and kind == "step":
            bar = self._bar(job, event["steps"], "step", f"{job.name} epoch {event['epoch']}")
            bar.n = event["step"]
            speed = f"{event['rows_per_second']:.0f} rows/s"
            bar.set_postfix_str(f"loss {event['loss']:.4f}, {speed}", refresh=True)
        elif self.bars and kind == "rows":
            bar = self._bar(job, event["rows"], "row", f"{job.name} {event['split']}")
            bar.n = event["done"]
            bar.refresh()

    def close(self, job: FoldJob) -> None:
        """Take the bar of a job away."""
        if job.bar is not None:
            job.bar.close()
            job.bar = None

    def _bar(self, job: FoldJob, total: int, unit: str, title: str) -> Any:
        if job.bar is not None and job.bar.desc.rstrip(": ") != title:
            self.close(job)
        if job.bar is None:
            times = "{elapsed}<{remaining}" + (", {rate_fmt}" if unit == "row" else "")
            job.bar = tqdm(
                total=total,
                desc=title,
                unit=unit,
                position=job.slot,
                leave=False,
                file=sys.stderr,
                dynamic_ncols=True,
                bar_format=f"{{l_bar}}{{bar}}| {{n_fmt}}/{{total_fmt}} [{times}{{postfix}}]",
            )
        return job.bar

    def _line(self, text: str) -> None:
        if self.bars:
            tqdm.write(text, file=sys.stderr)
        else:
            self.say(text)


def _describe_epoch(name: str, row: Event) -> str:
    score = next((measure for measure in _SHOWN_SCORES if measure in row), None)
    shown = f"{_SHOWN_SCORES[score]} {row[score]:.4f}, " if score else ""
    return (
        f"{name} epoch {row['epoch']}: loss {row['train_loss']:.4f}, "
        f"validation loss {row['val_loss']:.4f}, {shown}"
        f"{row['rows_per_second']:.0f} rows/s, {row['seconds']:.0f} s"
    )


def _take_ready(waiting: list[FoldJob], running: Sequence[FoldJob]) -> FoldJob | None:
    """Take the first job whose fold is not at work and has no earlier job waiting."""
    busy = {job.fold for job in running}
    for position, job in enumerate(waiting):
        earlier = {other.fold for other in waiting[:position]}
        if job.fold not in busy | earlier:
            return waiting.pop(position)
    return None


def _start(run: Run, job: FoldJob, slots: Slots, events: queue.Queue[Any]) -> None:
    refuse_link(run.fold_dir(job.fold))
    run.fold_dir(job.fold).mkdir(parents=True, exist_ok=True)
    job.log = run.log_file(job.fold).open("w", encoding="utf-8")
    job.process = subprocess.Popen(
        launch_command(job.arguments, slots.processes),
        stdout=subprocess.PIPE,
        stderr=job.log,
        stdin=subprocess.PIPE,
        env=_environment(slots, job),
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    threading.Thread(target=_read_events, args=(job, events), daemon=True).start()


def _environment(slots: Slots, job: FoldJob) -> dict[str, str]:
    threads = str(slots.threads[job.fold])
    env = {
        # Threads that wait by spinning cost four fifths of the speed where cores are shared.
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
        "SEMEVAL_KIT_WATCH_PARENT": "1",
    }
    root = str(Path(__file__).parents[2])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH", "")]))
    if slots.devices:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        devices = slots.devices[job.slot]
        if slots.processes == 1:
            # accelerate refuses several RTX 40 with an older driver unless these are set, as its
            # launcher does; a fold of one process has nobody to talk to.
            env = {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1", **env}
        env["CUDA_VISIBLE_DEVICES"] = ",".join(
            visible[device] if any(visible) else str(device) for device in devices
        )
    return env


def _read_events(job: FoldJob, events: queue.Queue[Any]) -> None:
    assert job.process is not None
    assert job.process.stdout is not None
    for line in job.process.stdout:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict) and "event" in event:
            events.put((job, event))
        elif job.log is not None:
            job.log.write(line)
    job.process.wait()
    events.put((job, None))


def _ended_badly(run: Run, job: FoldJob) -> bool:
    if job.log is not None:
        job.log.close()
    if job.process is not None and job.process.returncode == 0:
        run.log_file(job.fold).unlink(missing_ok=True)
        return False
    return True


def _describe_failures(run: Run, failed: Sequence[FoldJob]) -> str:
    parts: dict[str, str] = {}
    for job in failed:
        code = job.process.returncode if job.process is not None else "?"
        words = job.error
        if not words and run.log_file(job.fold).is_file():
            text = run.log_file(job.fold).read_text(encoding="utf-8", errors="replace")
            lines = text.splitlines()
            ranked = [line for line in lines if line.startswith("[rank")]  # before torchrun's own
            words = "\n".join((ranked or lines)[-_LOG_LINES:])
        log = run.log_file(job.fold)
        told = f"{job.name} failed (exit code {code}; its log: {log})"
        parts[words] = f"{parts[words]}\n{told}" if words in parts else told
    return "\n".join(f"{told}:\n{words}" for words, told in parts.items()) + (
        "\nFinished folds and checkpoints are kept: mend the cause and run the same command again."
    )


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Leave by an exception when told to, once, so that the folds' processes are stopped, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        for other in LEAVING_SIGNALS:  # a second one would leave the folds' processes behind
            signal.signal(other, signal.SIG_IGN)
        if callable(before[number]):
            before[number](number, frame)
        raise SystemExit(128 + number)

    before: dict[int, Any] = {
        number: signal.getsignal(number)
        for number in LEAVING_SIGNALS
        if signal.getsignal(number) != signal.SIG_IGN  # under nohup
    }
    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_all(running: Sequence[FoldJob]) -> None:
    """Stop launchers and workers; a launcher may end before the worker that it started."""
    processes = [job.process for job in running if job.process is not None]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            _signal_group(process, number)
            if process.stdin is not None:
                process.stdin.close()  # workers that are in another session leave at its end
        give_up = time.monotonic() + grace_seconds(_GRACE_SECONDS)
        while any([_signal_group(process, 0) for process in processes]):
            if time.monotonic() > give_up:
                break
            time.sleep(0.05)


def _signal_group(process: subprocess.Popen[str], number: int) -> bool:
    """Send a signal to a process and all that it started; False where none of them is left."""
    process.poll()
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # the latter on macOS, of zombies
        return False
    return True


def _config_spans_machines() -> bool:
    from accelerate.commands.config import config_args

    if not Path(config_args.default_config_file).is_file():
        return False
    return int(config_args.load_config_from_file(None).num_machines) > 1
