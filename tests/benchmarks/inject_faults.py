"""Faults in the files of a finished run: is any of them used in silence, or shown as a traceback?

    python tests/benchmarks/inject_faults.py [RUN...] --faults 2000 --seed 0

RUN is a finished run of any member, or a blend; it is copied and stays as it is. Without any, tiny
runs are made: an encoder's, a linear, a frozen and a blend of the three; and of two other kinds of
task, numbers of pairs and three targets. Each fault flips a bit, cuts a file short, empties it,
doubles its end or removes it; then the stages that read the file are done again. A fault is refused
(an error that says what to do), harmless (the same results) or used in silence.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semeval_kit.errors import KitError
from semeval_kit.files import read_json, remove_kept
from semeval_kit.run import stages
from semeval_kit.run.blending import BlendPlan, blend_runs
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import Engine
from semeval_kit.training.recipe import make_recipe

FAULTS = ("flip", "flip", "flip", "cut", "empty", "double", "remove")
# Pages for people, and files that only say where and when: no stage reads them.
NOT_READ = ("report.html", "README.md", "worker.log")
USED = "used in silence"
_TASKS = {"numbers": "semeval2024-task1-a", "targets": "semeval2027-stereoqueereval"}
RESULTS = ("thresholds.json", "estimate.json", "oof_answers.csv", "score.json")


def main() -> None:
    """Inject faults and print what became of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--faults", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    names = ["encoder", "linear", "frozen", "blend", *_TASKS]
    parser.add_argument("--only", choices=names, action="append", help="of the runs that are made")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        runs = asked.runs or make_runs(Path(made), asked.only or names)
        for run in runs:
            with tempfile.TemporaryDirectory() as scratch:
                n_faults = asked.faults // len(runs)
                tally, _ = inject_faults(run, Path(scratch), n_faults, asked.seed)
            told = ", ".join(f"{count} {name}" for name, count in sorted(tally.items()))
            print(f"{run.name}: {told}", flush=True)


def make_runs(folder: Path, names: Sequence[str]) -> list[Path]:
    """Make tiny runs: of each member, the encoder's with two seeds; a blend; other kinds."""
    from kill_runs import load_module  # beside this script

    tests = Path(__file__).parents[1]
    conftest, shapes = load_module(tests / "conftest.py"), load_module(tests / "test_shapes.py")
    data, encoder = folder / "data", folder / "bert"
    conftest.write_tiny_data(data)
    encoder.mkdir()
    conftest.save_tiny_encoder(encoder, "bert")
    members = {
        "encoder": {"encoder": str(encoder), "seeds": 2, "refold": True},
        "linear": {"encoder": "tfidf"},
        "frozen": {"encoder": f"frozen:{encoder}"},
    }
    runs = {}
    for name, fields in members.items():
        if name not in names and "blend" not in names:
            continue
        recipe = make_recipe({**conftest.TINY_RECIPE, **fields}, name)
        plan = stages.Plan(conftest.TINY_TASK, data, ("eng", "deu"), recipe)
        runs[name] = stages.run_all(folder / name, plan, Engine(1, 1), data / "gold", _say_nothing)
    if "blend" in names:
        blended = list(runs.values())
        runs["blend"] = blend_runs(
            folder / "blend", blended, BlendPlan(), data / "gold", _say_nothing
        )
    for name in sorted(_TASKS.keys() & set(names)):
        make, languages, _ = shapes.CASES[_TASKS[name]]
        for split, size in shapes.SIZES.items():
            make(folder / f"data-{name}", split, size, random.Random(f"{name} {split}"))
        recipe = make_recipe({**conftest.TINY_RECIPE, "encoder": str(encoder)}, name)
        plan = stages.Plan(_TASKS[name], folder / f"data-{name}", languages, recipe)
        runs[name] = stages.run_all(folder / name, plan, Engine(1, 1), None, _say_nothing)
    return [runs[name].path for name in names]


def inject_faults(
    made: Path, scratch: Path, n_faults: int, seed: int, tell: Callable[[str], None] = print
) -> tuple[Counter[str], list[str]]:
    """Damage copies of a run one fault at a time.

    Args:
        made: a finished run with a zip.
        scratch: an empty folder.
        n_faults: how many.
        seed: of the faults.
        tell: is told each fault that was used in silence or ended otherwise than by a KitError.

    Returns:
        How many were refused, harmless, repaired, used or a traceback; and the bad ones in words.
    """
    stages.run_folds = _predict_here  # type: ignore[assignment]
    draw = random.Random(seed)
    folder = scratch / made.name
    shutil.copytree(made, folder)
    _do_stages(folder)
    whole = _read_all(folder)
    names = [
        name
        for name in whole
        if Path(name).name not in NOT_READ
        and not name.startswith(("figures/", "paper/", "explain/", "before/"))
    ]
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(Path(name).name, []).append(name)
    tally: Counter[str] = Counter()
    bad = []
    for number in range(n_faults):
        kind = draw.choice(sorted(kinds))  # every kind of file as often, however many there are
        name = draw.choice(kinds[kind])
        fault = draw.choice(FAULTS)
        where = _damage(folder / name, fault, draw)
        try:
            _do_stages(folder)
            outcome = "harmless" if _are_same(_read_all(folder), whole, name) else USED
        except KitError:
            outcome = "refused"
        except Exception as error:
            outcome = f"traceback: {type(error).__name__}"
        tally[outcome] += 1
        if outcome not in ("refused", "harmless"):
            bad.append(f"fault {number}: {fault} {name} {where}: {outcome}")
            tell(bad[-1])
        _restore(folder, whole)
    return tally, bad


def _do_stages(folder: Path) -> None:
    """What reads the run again, and writes its results anew."""
    said: list[str] = []
    run = Run.open(folder)
    if run.member == "blend":
        _ = run.read_train(), read_json(folder / "weights.json"), read_json(folder / "blend.json")
        for split in stages.NEW_SPLITS:
            for language in run.languages:
                run.read_probs(split, language)
    else:
        if run.member == "frozen":  # else nothing would read the features again
            remove_kept(run.fold_probs_file(0, "test"))
        stages.predict(run, stages.NEW_SPLITS, Engine(1, 1), said.append)
    for fold in range(run.n_models if run.member == "encoder" else 0):
        run.read_history(fold)
        _check_model(run, fold)
    stages.tune(run, said.append)
    stages.pack(run, said.append)
    stages.score(run, None, said.append)


def _predict_here(run: Run, _: object, **given: Any) -> None:
    """Instead of processes of their own, which would take seconds each."""
    from semeval_kit.training.worker import do_job

    for fold in given.get("predict", ()):
        do_job("predict", run, fold, given["splits"], lambda _: None)


def _say_nothing(_: str) -> None:
    """Nobody listens."""


def _check_model(run: Run, fold: int) -> None:
    from semeval_kit.training.fold import load_fold

    load_fold(run, fold)


def _damage(path: Path, fault: str, draw: random.Random) -> str:
    content = bytearray(path.read_bytes())
    where = ""
    if fault == "remove":
        path.unlink()
        return where
    if fault == "flip" and content:
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        content[place] ^= 1 << bit
        where = f"at byte {place}, bit {bit}"
    elif fault == "cut":
        content = content[: draw.randrange(len(content) + 1)]
    elif fault == "empty":
        content = bytearray()
    elif fault == "double":
        content += content[-draw.randrange(1, 200) :]
    path.write_bytes(bytes(content))
    return where


def _read_all(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _are_same(now: dict[str, bytes], whole: dict[str, bytes], damaged: str) -> bool:
    """Whether the results are as before; a score that is gone is told by its absence."""
    gone = "score.json" if damaged == "score.json" and damaged not in now else ""
    names = [
        name
        for name in whole
        if name in RESULTS or name.endswith(".zip") or Path(name).name.startswith("p")
    ]
    return all(now.get(name) == whole[name] for name in names if name != gone)


def _restore(folder: Path, whole: dict[str, bytes]) -> None:
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        name = path.relative_to(folder).as_posix()
        if name not in whole:
            path.unlink()
    for name, content in whole.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
