"""The work of a run as a list of jobs, for other machines; and a run packed to be carried there.

A job is a fold to train, or what comes after all folds. It reads and writes only the run's folder,
so any machine that sees the folder may do it, with one command after the other.
"""

from __future__ import annotations

import os
import shlex
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from semeval_kit.errors import KitError
from semeval_kit.files import SUMS, hold_lock, sha256_file
from semeval_kit.run.directory import Run
from semeval_kit.run.layout import FLEETING
from semeval_kit.run.plan import Engine

FINISH = "finish"


@dataclass(frozen=True)
class Job:
    """What one process does for a run.

    Attributes:
        name: "fold-0", or "finish" for what comes after all folds; plain, without commas.
        commands: the arguments of `semeval-kit`, one command after the other.
        after: names of the jobs that must be done before.
        writes: folders and files inside the run, by which a job is seen to have done something.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    after: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    def spell(self) -> str:
        """The job as one shell line."""
        return " && ".join(shlex.join(("semeval-kit", *words)) for words in self.commands)


def list_jobs(run: Run, engine: Engine, gold: Path | None = None) -> list[Job]:
    """The jobs of a run that are not done yet: its folds, then what needs all of them.

    Args:
        run: a prepared run.
        engine: threads and processes of each job.
        gold: labels of the test split, to score the zip with.
    """
    path = str(run.path.resolve())
    flags: tuple[str, ...] = ("--jobs", "1", "--processes", str(engine.processes))
    flags += ("--threads", str(engine.threads)) if engine.threads else ()
    folds = [
        Job(
            name=f"fold-{fold}",
            commands=(("train", path, "--fold", str(fold), *flags),),
            writes=tuple(str(run.fold_dir(m).relative_to(run.path)) for m in run.list_models(fold)),
        )
        for fold in range(run.n_folds)
        if not all(run.is_done(model) for model in run.list_models(fold))
    ]
    if not folds and run.zip_file.is_file():
        return []
    score = ("--gold", str(gold.resolve())) if gold is not None else ()
    finish = Job(
        name=FINISH,
        commands=(("probs", path, *flags), ("tune", path), ("pack", path, *score)),
        after=tuple(job.name for job in folds),
        writes=("dev", "test", run.thresholds_file.name, run.zip_file.name),
    )
    return [*folds, finish]


def spell_jobs(jobs: Sequence[Job]) -> str:
    """Jobs as a shell script: those that wait for nothing may be done at once and anywhere."""
    free = [job.spell() for job in jobs if not job.after and job.name != FINISH]
    lines = ["# folds: in any order, at once, on any machine that sees the folder", *free]
    later = [job.spell() for job in jobs if job.after or job.name == FINISH]
    return "\n".join([*lines, "# after all of them", *later])


def pack_run(run: Run, path: Path, *, weights: bool = True) -> Path:
    """Zip a run's folder; what is being written, and logs, stay behind.

    Args:
        run: one that no process is at work on.
        path: the zip to be; it must not exist.
        weights: whether the folds' models and checkpoints go along. Without them a finished run is
            decided, packed, compared and reported, but predicts no new text.

    Raises:
        KitError: the zip exists, or a process is at work on the run.
    """
    if path.exists():
        raise KitError(f"{path}: exists. Name another file, or move it away.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with hold_lock(run.path):
        try:
            with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for file in sorted(run.path.rglob("*")):
                    name = file.relative_to(run.path)
                    if _is_carried(file, name, weights):
                        archive.write(file, PurePosixPath(run.name, *name.parts).as_posix())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def unpack_run(path: Path, folder: Path) -> Run:
    """Unpack what `pack_run` made into `folder/NAME`, after comparing every file with its hash.

    Raises:
        KitError: the file is no such zip, holds a name that leads elsewhere, a file is another
            than what was written, or the run is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".{path.stem}.{os.getpid()}.tmp"
    try:
        with zipfile.ZipFile(path) as archive:
            name = _check_names(path, archive.infolist())
            if (folder / name).exists():
                raise KitError(f"{folder / name}: exists. Move it away, or give another --to.")
            archive.extractall(staging)
        run = Run.open(staging / name)
        _ = run.settings, run.task
        find_changed(run.path)
        os.replace(staging / name, folder / name)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise KitError(f"{path}: is no zip of a run ({error}). Pack the run again.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Run.open(folder / name)


def find_changed(folder: Path) -> None:
    """Compare every file that a run's folders note with its hash.

    Raises:
        KitError: a file is missing or another than what was written.
    """
    for sums in sorted(folder.rglob(SUMS)):
        for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, name = line.partition("  ")
            file = sums.parent / name
            if not file.is_file() and name in FLEETING:
                continue
            if not file.is_file() or sha256_file(file) != digest:
                place = file.relative_to(folder)
                raise KitError(f"{place}: missing, or not what was written. Pack the run again.")


def _is_carried(file: Path, name: Path, weights: bool) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    heavy = bool({"model", "checkpoint"} & set(name.parts[:-1]))
    carried = file.is_file() and not file.is_symlink() and name.name not in FLEETING
    return carried and not hidden and (weights or not heavy) and "cluster" not in name.parts[:-1]


def _check_names(path: Path, members: list[zipfile.ZipInfo]) -> str:
    tops = set()
    for member in members:
        name = PurePosixPath(member.filename)
        is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename or is_link:
            raise KitError(f"{path}: the name '{member.filename[:80]}' leads elsewhere. Refused.")
        tops.add(name.parts[0] if len(name.parts) > 1 else "")
    if len(tops) != 1 or tops == {""}:
        raise KitError(f"{path}: is no zip of a run. Make one with `semeval-kit pack-run`.")
    return str(tops.pop())
