"""What no test can tell without a GPU, on a machine that has one: a few minutes, a line for each.

    python tests/benchmarks/check_gpu.py [--encoder embedded] [--report gpu.json]

A line says "ok", "failed" or "skipped", and what was measured. Nothing is written outside a
temporary folder but the report. It ends with 1 where something failed, and with 2 where torch sees
no GPU: then nothing was checked. `--on-cpu` does on the processor what can be done there, to try
the script.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_LEVERS = {"rdrop": 1.0, "fgm": 0.5, "ema": 0.9, "multi_dropout": 2, "positive_weight": "balanced"}
_NEAR = 1e-3  # of a probability: one device against another, in fp32
_ALIKE = 0.1  # of a probability: one training against another that rounds otherwise


class Skipped(Exception):
    """A check that this machine has no use for."""


class Killed(Exception):
    """What ends a training in the middle of an epoch."""


class Check:
    """The checks, which share runs in one folder."""

    def __init__(self, folder: Path, encoder: str, device: str) -> None:
        """Keep where runs go, the encoder, and "cuda", "mps" or "cpu"."""
        self.folder, self.encoder, self.device = folder, encoder, device

    def train(self, name: str, emit: Callable[[Any], None] = lambda _: None, **fields: Any) -> Any:
        """Train the first fold of a run in this process; the same name goes on with the run."""
        from accelerate.state import AcceleratorState

        from semeval_kit.run import stages
        from semeval_kit.training.fold import train_fold
        from semeval_kit.training.recipe import make_recipe

        AcceleratorState._reset_state(reset_partial_state=True)
        given = {"encoder": self.encoder, "folds": 2, "epochs": 2, "batch_size": 16, **fields}
        config = make_recipe({"precision": "fp32", **given}, "check_gpu")
        plan = stages.Plan("demo", _ROOT / "data", ("eng",), config)
        run = stages.prepare(self.folder / name, plan, lambda _: None)
        if not run.is_done(0):
            train_fold(run, 0, emit)
        return run

    def probs(self, run: Any) -> Any:
        """The probabilities of the rows held out `(n_rows, n_targets)`."""
        from semeval_kit.probs import read_probs

        return read_probs(run.oof_file(0)).values

    def score(self, run: Any) -> float:
        """Macro-F1 at 0.5 of the last epoch."""
        return float(run.read_history(0)[-1]["macro_f1"])

    def check_precisions(self) -> str:
        """fp32, bf16 where the device has it, and fp16 learn alike."""
        import numpy as np
        import torch

        kinds = ["fp32"]
        if self.device != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
            kinds.append("bf16")
        kinds += ["fp16"] if self.device != "cpu" else []
        runs = {kind: self.train(kind, precision=kind) for kind in kinds}
        told = []
        for kind, run in runs.items():
            apart = float(np.abs(self.probs(run) - self.probs(runs["fp32"])).mean())
            speed = run.read_history(0)[-1]["rows_per_second"]
            told.append(f"{kind} {self.score(run):.3f}, {speed:.0f} rows/s, {apart:.3f} from fp32")
            assert apart < _ALIKE, told
        return "; ".join(told)

    def check_same_bytes(self) -> str:
        """The same fold again; a GPU need not give the same bytes, so this only tells."""
        import numpy as np

        first, again = self.probs(self.train("fp32")), self.probs(self.train("again"))
        apart = float(np.abs(first - again).max())
        assert apart < _ALIKE, f"{apart:.2g} of a probability"
        return "the same bytes" if apart == 0 else f"not the same bytes: up to {apart:.2g} apart"

    def check_kill(self) -> str:
        """A fold that is ended in the middle of an epoch goes on, in fp16 with its loss scale."""
        import numpy as np

        precision = "fp32" if self.device == "cpu" else "fp16"
        fields = {"precision": precision, "checkpoint_minutes": 1e-9, "ema": 0.9}
        whole = self.train("whole", **fields)
        heard = []

        def strike(event: dict[str, Any]) -> None:
            heard.append(event["event"])
            if heard.count("step") == 3 or (event["event"], event.get("epoch")) == ("epoch", 1):
                raise Killed

        try:
            self.train("killed", strike, **fields)
        except Killed:
            events: list[dict[str, Any]] = []
            killed = self.train("killed", events.append, **fields)
            resumed = [e for e in events if e["event"] == "resumed"]
            assert resumed, "it began anew"
            apart = float(np.abs(self.probs(whole) - self.probs(killed)).max())
            assert apart < _ALIKE, f"{apart:.2g} of a probability apart from one left alone"
            where = f"epoch {resumed[0]['epoch']}, step {resumed[0]['step']}"
            return f"went on after {where}; {apart:.2g} apart from one that was left alone"
        raise AssertionError("it was not struck")

    def check_levers(self) -> str:
        """All levers of the loop at once, with accumulation."""
        precision = "fp32" if self.device == "cpu" else "fp16"
        run = self.train("levers", precision=precision, accumulation=2, epochs=1, **_LEVERS)
        return f"{precision}, macro-F1 {self.score(run):.3f} after one epoch"

    def check_short_memory(self) -> str:
        """Memory that does not suffice halves what is read at once."""
        import torch

        if self.device != "cuda":
            raise Skipped("only CUDA's memory can be made short")
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        events: list[dict[str, Any]] = []
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1.5e9) / total)
        try:
            run = self.train("short", events.append, epochs=1, batch_size=512)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        notes = [e["text"] for e in events if "does not suffice" in e.get("text", "")]
        assert notes, "1.5 GB sufficed for 512 rows: give --encoder a larger one"
        return f"{len(notes)} times halved, macro-F1 {self.score(run):.3f}"

    def check_reading(self) -> str:
        """The finished model reads texts on the device as on the processor; `ig` explains them."""
        import numpy as np

        from semeval_kit.show.explain.attributions import explain_texts
        from semeval_kit.training.fold import load_fold

        run = self.train("fp32")
        model = load_fold(run, 0)
        texts = list(run.read_train().texts[:100])
        here = model.probs(texts)
        device = model.device.type
        how: dict[str, Any] = {"method": "ig", "max_length": model.max_length}
        (told,) = explain_texts([model], texts[:1], **how)
        model.classifier.cpu()
        apart = float(np.abs(here - model.probs(texts)).max())
        assert apart < _NEAR, f"{apart:.2g} of a probability apart from the processor"
        gap = float(np.abs(told.gaps).max())
        assert gap < 0.05, f"contributions leave {gap:.2g} unexplained"
        return f"on {device}, {apart:.1g} apart from the processor; ig leaves {gap:.1g}"

    def check_frozen(self) -> str:
        """Features of an untrained encoder, on the device as on the processor."""
        import numpy as np

        from semeval_kit.training.features import FrozenReader

        texts = list(self.train("fp32").read_train().texts[:100])
        reader = FrozenReader(f"frozen:{self.encoder}", "", 64, None)
        here = reader.read(texts)
        device = reader.loaded[1].device.type
        reader.loaded[1].cpu()
        apart = float(np.abs(here - reader.read(texts)).max())
        assert apart < _NEAR, f"{apart:.2g} apart from the processor"
        return f"on {device}, {apart:.1g} apart from the processor"

    def check_masked_tokens(self) -> str:
        """A tiny encoder learns masked tokens, then labels."""
        encoder = self.folder / "tiny"
        from kill_runs import load_module  # beside this script

        load_module(_ROOT / "tests" / "conftest.py").save_tiny_encoder(encoder, "bert", masked=True)
        precision = "fp32" if self.device == "cpu" else "fp16"
        fields = {"encoder": str(encoder), "mlm_epochs": 1, "epochs": 1, "precision": precision}
        run = self.train("masked", **fields)
        return f"{precision}, loss {run.read_done(0)['mlm']['losses'][-1]:.2f}"

    def check_command(self) -> str:
        """The whole command: folds side by side in processes of their own, and the zip."""
        words = ["demo", "--submissions", self.folder, "--run", "command", "--no-report"]
        words += ["--model", self.encoder, "--epochs", "1", "--folds", "2", "--seeds", "1"]
        words += ["--refold", "false"]
        told = self._call(*words)
        assert (self.folder / "command" / "command.zip").is_file(), told
        done = json.loads((self.folder / "command/fold-0/done.json").read_text(encoding="utf-8"))
        line = next(text for text in told.splitlines() if text.startswith("training"))
        return f"{line} ({done['device']}, {done['precision']})"

    def check_processes(self) -> str:
        """One fold on two GPUs, through accelerate's launcher."""
        import torch

        if self.device == "cuda" and torch.cuda.device_count() < 2:
            raise Skipped("one GPU")
        if self.device == "mps":
            raise Skipped("a Mac has one GPU")
        words = ["demo", "--submissions", self.folder, "--run", "both", "--no-report"]
        words += ["--model", self.encoder, "--epochs", "1", "--folds", "2", "--seeds", "1"]
        told = self._call(*words, "--refold", "false", "--processes", "2")
        done = json.loads((self.folder / "both/fold-0/done.json").read_text(encoding="utf-8"))
        assert done["processes"] == 2, told
        return f"{done['device']}, {done['precision']}"

    def _call(self, *words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "semeval_kit", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=_ROOT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def main() -> None:
    """Do all checks and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", default="embedded", help="name or folder")
    parser.add_argument("--report", type=Path, help="JSON file for what was measured")
    parser.add_argument("--on-cpu", action="store_true", help="try the script on the processor")
    asked = parser.parse_args()
    from semeval_kit.training.machine import describe_machine, describe_versions, find_device_type

    device = "cpu" if asked.on_cpu else find_device_type()
    if device == "cpu" and not asked.on_cpu:
        sys.stderr.write("no GPU: torch sees none on this machine, so nothing was checked.\n")
        raise SystemExit(2)
    facts: dict[str, Any] = {"machine": describe_machine(), "versions": describe_versions()}
    sys.stdout.write(f"{facts['machine']['device']}, torch {facts['versions']['torch']}\n")
    with tempfile.TemporaryDirectory() as folder:
        check = Check(Path(folder), asked.encoder, device)
        for name in (name for name in vars(Check) if name.startswith("check_")):
            with _told(name.removeprefix("check_"), facts) as tell:
                tell(getattr(check, name)())
    if asked.report:
        asked.report.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(any(fact["result"] == "failed" for fact in facts.get("checks", {}).values()))


@contextmanager
def _told(name: str, facts: dict[str, Any]) -> Iterator[Callable[[str], None]]:
    """Print and keep how a check went, whatever it raises."""
    began, said = time.monotonic(), []
    result = "ok"
    try:
        yield said.append
    except Skipped as error:
        result, said = "skipped", [str(error)]
    except Exception as error:
        traceback.print_exc()
        result, said = "failed", [f"{type(error).__name__}: {error}"]
    seconds = round(time.monotonic() - began, 1)
    facts.setdefault("checks", {})[name] = {"result": result, "told": said, "seconds": seconds}
    sys.stdout.write(f"{result:8} {name:14} {seconds:6.1f} s  {' '.join(said)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
