"""`status`, `stop`, `pack-run` and `unpack-run`: a run on many machines."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from semeval_kit.cli.options import say

_RUN = click.argument(
    "run_path", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
_WATCH_SECONDS = 5.0


@click.command(epilog="Example:  semeval-kit status submissions/my-run --watch")
@_RUN
@click.option("--watch", is_flag=True, help="Show it again until every fold is done or has failed.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(run_path: Path, watch: bool, as_json: bool) -> None:
    """Show each fold of a run: waiting, running where and how far, done, failed and why."""
    from semeval_kit.run.directory import Run
    from semeval_kit.run.jobs import describe_folds

    while True:
        folds = describe_folds(Run.open(run_path))
        if as_json:
            click.echo(json.dumps(folds, indent=2))
        else:
            click.echo("\n".join(_spell_fold(fold) for fold in folds))
        if not watch or all(fold["state"] in ("done", "failed") for fold in folds):
            return
        time.sleep(_WATCH_SECONDS)
        click.echo()


@click.command(epilog="Example:  semeval-kit stop submissions/my-run")
@_RUN
def stop(run_path: Path) -> None:
    """Stop what is at work on a run, and nothing else; the same command goes on later."""
    from semeval_kit.run.directory import Run
    from semeval_kit.run.jobs import stop_jobs

    if not stop_jobs(Run.open(run_path), say):
        say(f"{run_path}: nothing is at work here")


@click.command(
    "pack-run", epilog="Example:  semeval-kit pack-run submissions/my-run --to my-run.zip"
)
@_RUN
@click.option("--to", "path", type=click.Path(path_type=Path), help="Default: NAME.run.zip, here.")
@click.option("--weights/--no-weights", default=True, help="Take models and checkpoints along.")
def pack_run(run_path: Path, path: Path | None, weights: bool) -> None:
    """Put a run into one zip, to go on with it on another machine."""
    from semeval_kit.run import packing
    from semeval_kit.run.directory import Run

    run = Run.open(run_path)
    click.echo(packing.pack_run(run, path or Path(f"{run.name}.run.zip"), weights=weights))


@click.command("unpack-run", epilog="Example:  semeval-kit unpack-run my-run.zip --to submissions")
@click.argument("path", metavar="ZIP", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("submissions"),
    show_default=True,
    help="The folder that keeps runs.",
)
def unpack_run(path: Path, folder: Path) -> None:
    """Unpack a run that `pack-run` made; every file is compared with its hash."""
    from semeval_kit.run import packing

    click.echo(packing.unpack_run(path, folder).path)


def _spell_fold(fold: dict[str, Any]) -> str:
    words = [f"{fold['model']}: {fold['state']}"]
    if fold["state"] == "running":
        words.append(f"on {fold.get('host')}")
    if fold.get("resumes"):
        words.append("goes on from its checkpoint")
    if fold.get("epoch"):
        words.append(f"epoch {fold['epoch']}")
    if fold.get("done_share") is not None:
        words.append(f"{fold['done_share']:.0%} of its steps")
    if fold.get("rows_per_second"):
        words.append(f"{fold['rows_per_second']:.0f} rows/s")
    if fold.get("why"):
        words.append(str(fold["why"]).splitlines()[0][:200])
    return ", ".join(words)
