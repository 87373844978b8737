"""`semeval-kit run`: the main job, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from semeval_kit.cli.options import engine_options, plan_options, read_engine, read_plan, say


@click.command(
    epilog="Example:  semeval-kit run --task semeval2025-task11-a --data official --langs eng "
    "--model roberta-large --folds 5"
)
@plan_options
@engine_options
@click.option(
    "--gold",
    type=click.Path(exists=True, path_type=Path),
    default=None,
    help="Labels of the test split (file or folder), to score the zip with.",
)
@click.option(
    "--per-language",
    is_flag=True,
    help="One model per language instead of one for all; one zip all the same.",
)
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html.")
def run(gold: Path | None, per_language: bool, report: bool, **given: Any) -> None:
    """All stages: folds, training, probabilities, thresholds, zip and score.

    Interrupt it whenever you like: the same command goes on where it stopped.
    """
    from semeval_kit.cli.summary import summarise
    from semeval_kit.pipeline import run_all, run_each_language

    path, plan = read_plan(given)
    engine = read_engine(given)
    try:
        work = run_each_language if per_language else run_all
        done = work(path, plan, engine, gold, say)
    except KeyboardInterrupt:
        say(f"\ninterrupted; the same command goes on with {path}")
        raise SystemExit(130) from None
    if report:
        from semeval_kit.cli.report import write_pages

        write_pages(done, say)
    click.echo(summarise(done))
