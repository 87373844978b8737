"""Rows per second of training: transformers' own Trainer against the kit, in turn, in one run.

(a) Trainer, padded to 128 tokens, fp32, as its text-classification example does
(b) Trainer, dynamic padding, grouped by length, bf16 where the processor has it
(c) the kit, two folds side by side, the same parameters trained
(d) the kit, two folds side by side, as the default recipe has it (embedding tables frozen)

All train the embedded encoder on the same rows with batches of 16, each in fresh processes, for
several rounds; medians and ratios are printed. Nothing here fails on a slow machine: machines are
noisy, so read the ratios. At the end stands what a job costs beside its work: as a command of its
own, through submitit, and through Slurm where one answers or can be started.

    python tests/benchmarks/bench_training.py [--rounds 3] [--rows 640] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semeval_kit.run.jobs import Job

TASK, BATCH, LR = "semeval2025-task11-a", 16, 2e-4


def train_with_trainer(rows_file: str, kind: str) -> None:
    """Train one epoch with transformers' Trainer and print rows per second."""
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        logging,
    )

    from semeval_kit.training.machine import choose_precision
    from semeval_kit.training.source import resolve_encoder

    logging.set_verbosity_error()
    torch.manual_seed(0)
    rows = json.loads(Path(rows_file).read_text(encoding="utf-8"))
    name = resolve_encoder("embedded")
    tokenizer = AutoTokenizer.from_pretrained(name)
    padding = {"padding": "max_length"} if kind == "a" else {"padding": False}
    encoded = tokenizer(rows["texts"], truncation=True, max_length=128, **padding)
    data = Dataset.from_dict({**encoded, "labels": rows["labels"]})
    model = AutoModelForSequenceClassification.from_pretrained(
        name,
        dtype=torch.float32,
        num_labels=len(rows["labels"][0]),
        problem_type="multi_label_classification",
    )
    fast = {}
    if kind == "b":
        precise = choose_precision("auto", "cuda" if torch.cuda.is_available() else "cpu")
        fast = {"bf16": precise == "bf16", "train_sampling_strategy": "group_by_length"}
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=LR,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **fast,
        )
        collator = None if kind == "a" else DataCollatorWithPadding(tokenizer)
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=data,
            data_collator=collator,
            processing_class=tokenizer,
        )
        speed = trainer.train().metrics["train_samples_per_second"]
    sys.stdout.write(f"{speed}\n")


def train_with_kit(data: Path, freeze: bool, jobs: int) -> float:
    """Train folds side by side and return the rows per second of all of them together."""
    from semeval_kit.run.stages import Engine, Plan, prepare, train
    from semeval_kit.training.recipe import load_recipe

    overrides = {
        "folds": max(jobs, 2),
        "seeds": 1,
        "epochs": 1,
        "batch_size": BATCH,
        "lr": LR,
        "freeze_embeddings": freeze,
    }
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(TASK, data, ("eng",), load_recipe("default", overrides))
        run = prepare(Path(folder) / "bench", plan, lambda text: None)
        train(run, Engine(jobs=jobs, threads=max(1, (os.cpu_count() or 1) // jobs)), lambda t: None)
        return sum(run.read_history(fold)[0]["rows_per_second"] for fold in range(jobs))


def measure_trainer(rows_file: Path, kind: str) -> float:
    """Run the Trainer in a process of its own and return its rows per second."""
    answer = subprocess.run(
        [sys.executable, __file__, "--trainer", kind, "--rows-file", str(rows_file)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(answer.stdout.split()[-1])


def lay_out_rows(source: Path, n_rows: int, folder: Path) -> Path:
    """Write the rows for both sides: a JSON for the Trainer, CSV files for the kit.

    The kit trains on all folds but one, so it is given twice the rows to train on as many.
    """
    import csv

    from semeval_kit.data.examples import read_examples
    from semeval_kit.task.task import load_task

    task = load_task(TASK)
    examples = read_examples(task, source, "train", ["eng"])
    chosen = examples.take(range(min(2 * n_rows, len(examples))))
    labels = [task.all_labels.index(label) for label in task.labels_for("eng")]
    target = folder / "track_a" / "train" / "eng.csv"
    target.parent.mkdir(parents=True)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", *task.labels_for("eng")])
        for row, (id_, text) in enumerate(zip(chosen.ids, chosen.texts, strict=True)):
            writer.writerow([id_, text, *(int(v) for v in chosen.labels[row, labels])])
    own = chosen.take(range(len(chosen) // 2))
    rows = {"texts": list(own.texts), "labels": own.labels[:, labels].tolist()}
    rows_file = folder / "rows.json"
    rows_file.write_text(json.dumps(rows), encoding="utf-8")
    return rows_file


def main() -> None:
    """Measure in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--data", type=Path, default=None, help="official CSVs; default: demo data")
    parser.add_argument("--trainer", choices=["a", "b"], help=argparse.SUPPRESS)
    parser.add_argument("--rows-file", help=argparse.SUPPRESS)
    parser.add_argument("--engines", action="store_true", help="only what a job costs")
    asked = parser.parse_args()
    if asked.engines:
        print_engines()
        return
    if asked.trainer:
        train_with_trainer(asked.rows_file, asked.trainer)
        return
    import torch

    from semeval_kit.training.machine import choose_precision

    shared = Path(__file__).parents[3] / "shared" / "data" / "semeval2025-task11"
    demo = Path(__file__).parents[2] / "data"
    precision = choose_precision("auto", "cuda" if torch.cuda.is_available() else "cpu")
    source = asked.data or (shared if shared.is_dir() else demo)
    names = {
        "a": "Trainer, padded to 128, fp32",
        "b": f"Trainer, dynamic padding, grouped, {precision}",
        "c": f"kit, two folds side by side, {precision}",
        "d": f"kit, two folds side by side, embeddings frozen, {precision}",
    }
    speeds: dict[str, list[float]] = {kind: [] for kind in names}
    with tempfile.TemporaryDirectory() as folder:
        rows_file = lay_out_rows(source, asked.rows, Path(folder))
        for round_ in range(1, asked.rounds + 1):
            speeds["a"].append(measure_trainer(rows_file, "a"))
            speeds["b"].append(measure_trainer(rows_file, "b"))
            speeds["c"].append(train_with_kit(Path(folder), False, 2))
            speeds["d"].append(train_with_kit(Path(folder), True, 2))
            figures = ", ".join(f"{kind} {values[-1]:.1f}" for kind, values in speeds.items())
            sys.stderr.write(f"round {round_} of {asked.rounds}: {figures} rows/s\n")
    middle = {kind: statistics.median(values) for kind, values in speeds.items()}
    sys.stdout.write(f"{'rows/s':>8} {'x (a)':>6} {'x (b)':>6}\n")
    for kind, name in names.items():
        over_a, over_b = middle[kind] / middle["a"], middle[kind] / middle["b"]
        sys.stdout.write(f"{middle[kind]:8.1f} {over_a:6.2f} {over_b:6.2f}  ({kind}) {name}\n")
    print_engines()


def print_engines(n_jobs: int = 3) -> None:
    """Print the seconds that a job costs which does nothing, by each engine at hand."""
    from semeval_kit.run.jobs import Job

    nothing = [Job(f"fold-{number}", (("--version",),)) for number in range(n_jobs)]
    started = time.monotonic()
    for _ in nothing:
        subprocess.run(
            [sys.executable, "-m", "semeval_kit", "--version"], stdout=subprocess.DEVNULL
        )
    own = (time.monotonic() - started) / n_jobs
    sys.stdout.write(f"a job that does nothing: {own:.1f} s as a command")
    if find_spec("submitit") is not None:
        sys.stdout.write(f", {_time_jobs(nothing, 'local'):.1f} s through submitit")
        try:
            with _slurm_at_hand():
                sys.stdout.write(f", {_time_jobs(nothing, 'slurm'):.1f} s through Slurm")
        except Exception as error:
            sys.stderr.write(f"no Slurm: {str(error).splitlines()[0]}\n")
    sys.stdout.write("\n")


def _time_jobs(jobs: list[Job], kind: str) -> float:
    """Seconds per job, one at a time, from handing them over to the last one's end."""
    from semeval_kit.run import slurm

    with tempfile.TemporaryDirectory() as folder:
        place, started = Path(folder), time.monotonic()
        asked = slurm.Cluster(cpus=1, max_jobs=1)
        ids = slurm.submit_jobs(place, jobs, asked, lambda _: None, kind=kind)
        while not all(slurm.has_completed(place, id_) for id_ in ids.values()):
            time.sleep(0.1)
        return (time.monotonic() - started) / len(jobs)


@contextmanager
def _slurm_at_hand() -> Iterator[None]:
    """The Slurm that answers here, or the tests' own of one node for a while."""
    if shutil.which("squeue") and not subprocess.run(["squeue"], capture_output=True).returncode:
        yield
        return
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from slurm_cluster import SlurmCluster

    with tempfile.TemporaryDirectory() as folder, SlurmCluster(Path(folder)) as cluster:
        os.environ.update(cluster.environment)
        yield


if __name__ == "__main__":
    main()
