"""The stages after `prepare` as commands of their own: train, probs, tune and pack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semeval_kit.cli.options import (
    data_option,
    engine_options,
    read_engine,
    say,
)

if TYPE_CHECKING:
    from semeval_kit.run.directory import Run

_RUN = click.argument(
    "run_path", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path)
)


@click.command(epilog="Example:  semeval-kit train submissions/my-run --fold 0 --fold 1")
@_RUN
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

    from semeval_kit.run import stages
    from semeval_kit.run.directory import hold_lock

    run = _open_run(run_path, data, model)
    stages.require_same_data(run)
    # Of single folds each has a lock of its own, so that several can be trained at once.
    with nullcontext() if folds else hold_lock(run.path):
        stages.train(run, replace(read_engine(given), folds=folds), say)
    for number in range(run.n_models):
        state = "done" if run.is_done(number) else "not finished"
        click.echo(f"{run.name_model(number)}: {state}")


@click.command(epilog="Example:  semeval-kit probs submissions/my-run --split test")
@_RUN
@data_option
@engine_options
@click.option("--split", "splits", type=click.Choice(["dev", "test"]), multiple=True)
def probs(run_path: Path, data: Path | None, splits: tuple[str, ...], **given: Any) -> None:
    """Write the fold-mean probabilities of the dev and test splits."""
    from semeval_kit.run import stages
    from semeval_kit.run.directory import hold_lock

    run = _open_run(run_path, data)
    engine = read_engine(given)
    with hold_lock(run.path):
        predicted = stages.predict(run, splits or stages.SPLITS, engine, say)
    for split in predicted:
        for language in run.languages:
            click.echo(run.probs_file(split, language))


@click.command(epilog="Example:  semeval-kit tune submissions/my-run")
@_RUN
@data_option
def tune(run_path: Path, data: Path | None) -> None:
    """Tune thresholds on out-of-fold rows and estimate honestly what they will score."""
    from semeval_kit.cli.summary import describe_estimate
    from semeval_kit.run import stages
    from semeval_kit.run.directory import hold_lock

    run = _open_run(run_path, data)
    with hold_lock(run.path):
        estimate = stages.tune(run, say)
    click.echo(describe_estimate(run, estimate))


@click.command(epilog="Example:  semeval-kit pack submissions/my-run")
@_RUN
@data_option
@click.option("--gold", type=click.Path(exists=True, path_type=Path), default=None)
def pack(run_path: Path, data: Path | None, gold: Path | None) -> None:
    """Write predictions in the organisers' layout, zip and validate them; score where possible."""
    from semeval_kit.cli.summary import summarise
    from semeval_kit.run import stages
    from semeval_kit.run.directory import hold_lock

    run = _open_run(run_path, data)
    with hold_lock(run.path):
        stages.pack(run, say)
        stages.score(run, gold, say)
    click.echo(summarise(run))


def _open_run(path: Path, data: Path | None, encoder: str | None = None) -> Run:
    from semeval_kit.errors import KitError
    from semeval_kit.run.directory import Run
    from semeval_kit.run.stages import move_run

    run = Run.open(path)
    if run.settings.get("per_language"):
        inside = ", ".join(str(run.language_dir(language)) for language in run.languages)
        raise KitError(f"{path}: holds one run per language. Name one of them: {inside}.")
    move_run(run, data, encoder)
    return run
