"""The stages of a run one by one, and its jobs: `train` to `pack`, `status`, `stop`, `pack-run`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semeval_kit.cli.options import (
    FILE_THERE,
    FOLDER,
    PLACE,
    data_option,
    engine_options,
    gold_option,
    open_run,
    print_json,
    read_engine,
    run_argument,
    runs_argument,
    say,
)

if TYPE_CHECKING:
    from semeval_kit.run.directory import Run


_WATCH_SECONDS = 5.0


@click.command(epilog="Example:  semeval-kit status submissions/my-run --watch")
@runs_argument
@click.option("--watch", is_flag=True, help="Show it again until all is done or has failed.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(paths: tuple[Path, ...], watch: bool, as_json: bool) -> None:
    """Show each fold of runs, or each trial of a search.

    Waiting, running where and how far, time left, done, stopped or failed and why. Time left is
    what the epochs that are asked for take at most; training may stop before.
    """
    from semeval_kit.run.status import describe_jobs, describe_search

    while True:
        rows = {
            path: describe_search(path) if _is_search(path) else describe_jobs(path)
            for path in paths
        }
        if as_json:
            shown = {str(path): rows[path] for path in paths}
            print_json(shown if len(paths) > 1 else rows[paths[0]])
        for path in paths if not as_json else ():
            if len(paths) > 1:
                click.echo(f"{path}:")
            click.echo("\n".join(_spell_row(row) for row in rows[path]))
        ended = {path: {"done", "failed", "stopped" * _is_search(path)} for path in paths}
        if not watch or all(row["state"] in ended[path] for path in paths for row in rows[path]):
            return
        time.sleep(_WATCH_SECONDS)
        click.echo()


@click.command(epilog="Example:  semeval-kit stop submissions/my-run")
@runs_argument
def stop(paths: tuple[Path, ...]) -> None:
    """Stop what is at work on runs or searches, and nothing else; the same command goes on."""
    from semeval_kit.run.status import stop_jobs, stop_search

    for path in paths:
        if not (stop_search(path, say) if _is_search(path) else stop_jobs(path, say)):
            say(f"{path}: nothing is at work here")


@click.command(
    "pack-run", epilog="Example:  semeval-kit pack-run submissions/my-run --to my-run.zip"
)
@run_argument
@click.option("--to", "path", type=PLACE, help="Default: NAME.run.zip, here.")
@click.option("--weights/--no-weights", default=True, help="Take models and checkpoints along.")
def pack_run(run_path: Path, path: Path | None, weights: bool) -> None:
    """Put a run into one zip, to go on with it on another machine."""
    from semeval_kit.run import jobs

    run = open_run(run_path)
    click.echo(jobs.pack_run(run, path or Path(f"{run.name}.run.zip"), weights=weights))


@click.command("unpack-run", epilog="Example:  semeval-kit unpack-run my-run.zip --to submissions")
@click.argument("path", metavar="ZIP", type=FILE_THERE)
@click.option(
    "--to",
    "folder",
    type=FOLDER,
    default=Path("submissions"),
    show_default=True,
    help="The folder that keeps runs.",
)
def unpack_run(path: Path, folder: Path) -> None:
    """Unpack a run that `pack-run` made; every file is compared with its hash."""
    from semeval_kit.run import jobs

    click.echo(jobs.unpack_run(path, folder).path)


@click.command(epilog="Example:  semeval-kit train submissions/my-run --fold 0 --fold 1")
@run_argument
@data_option
@engine_options
@click.option("--model", help="Where the run's local encoder lies now.")
@click.option("--fold", "folds", type=click.IntRange(0), multiple=True, help="Only this fold.")
def train(
    run_path: Path, data: Path | None, model: str | None, folds: tuple[int, ...], **given: Any
) -> None:
    """Train the folds that are not finished."""
    from contextlib import nullcontext
    from dataclasses import replace

    from semeval_kit.files import hold_lock
    from semeval_kit.run import stages

    run = _open_run(run_path, data, model)
    stages.require_same_data(run)
    # Of single folds each has a lock of its own, so that several can be trained at once.
    with nullcontext() if folds else hold_lock(run.path):
        stages.train(run, replace(read_engine(given), folds=folds), say)
    for number in range(run.n_models):
        state = "done" if run.is_done(number) else "not finished"
        click.echo(f"{run.name_model(number)}: {state}")


@click.command(epilog="Example:  semeval-kit probs submissions/my-run --split test")
@run_argument
@data_option
@engine_options
@click.option("--split", "splits", type=click.Choice(["dev", "test"]), multiple=True)
def probs(run_path: Path, data: Path | None, splits: tuple[str, ...], **given: Any) -> None:
    """Write the fold-mean probabilities of the dev and test splits."""
    from semeval_kit.files import hold_lock
    from semeval_kit.run import stages

    run = _open_run(run_path, data)
    engine = read_engine(given)
    with hold_lock(run.path):
        predicted = stages.predict(run, splits or stages.NEW_SPLITS, engine, say)
    for split in predicted:
        for language in run.languages:
            click.echo(run.probs_file(split, language))


@click.command(epilog="Example:  semeval-kit tune submissions/my-run")
@run_argument
@data_option
def tune(run_path: Path, data: Path | None) -> None:
    """Tune thresholds on out-of-fold rows and estimate honestly what they will score."""
    from semeval_kit.cli.summary import describe_estimate
    from semeval_kit.files import hold_lock
    from semeval_kit.run import stages

    run = _open_run(run_path, data)
    with hold_lock(run.path):
        estimate = stages.tune(run, say)
    click.echo(describe_estimate(run, estimate))


@click.command(epilog="Example:  semeval-kit pack submissions/my-run")
@run_argument
@data_option
@gold_option
def pack(run_path: Path, data: Path | None, gold: Path | None) -> None:
    """Write predictions in the organisers' layout, zip and validate them; score where possible."""
    from semeval_kit.cli.summary import summarise
    from semeval_kit.files import hold_lock
    from semeval_kit.run import stages

    run = _open_run(run_path, data)
    with hold_lock(run.path):
        stages.pack(run, say)
        stages.score(run, gold, say)
    click.echo(summarise(run))


def _is_search(path: Path) -> bool:
    return (path / "search.json").is_file()


def _spell_row(row: dict[str, Any]) -> str:
    words = [f"{row['model']}: {row['state']}"]
    if row["state"] == "running":
        words.append(f"on {row.get('host')}")
    if row.get("resumes"):
        words.append("goes on from its checkpoint")
    if row.get("epoch"):
        words.append(f"epoch {row['epoch']}")
    if row.get("done_share") is not None:
        words.append(f"{row['done_share']:.0%} of its steps")
    if row.get("rows_per_second"):
        words.append(f"{row['rows_per_second']:.0f} rows/s")
    if row.get("seconds_left") is not None and row["state"] == "running":
        words.append(f"{_spell_time(row['seconds_left'])} left")
    if row.get("job") and row["state"] != "done":
        words.append(f"job {row['job']}")
    if row.get("why"):
        words.append(str(row["why"]).splitlines()[0][:200])
    return ", ".join(words)


def _spell_time(seconds: int) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if seconds >= 60 else f"{seconds} s"


def _open_run(path: Path, data: Path | None, encoder: str | None = None) -> Run:
    from semeval_kit.errors import KitError
    from semeval_kit.run.stages import move_run

    run = open_run(path)
    if run.settings.get("per_language"):
        inside = ", ".join(str(run.language_dir(language)) for language in run.languages)
        raise KitError(f"{path}: holds one run per language. Name one of them: {inside}.")
    move_run(run, data, encoder)
    return run
