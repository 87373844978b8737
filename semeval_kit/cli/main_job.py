"""The main job end to end: `run`, `sweep` and its first stage, `prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semeval_kit.cli.options import (
    cluster_options,
    engine_options,
    gold_option,
    hand_out,
    plan_options,
    read_engine,
    read_plan,
    say,
    sweep_options,
)

if TYPE_CHECKING:
    pass


@click.command(
    epilog="Example:  semeval-kit run --task semeval2025-task11-a --data official --langs eng "
    "--model roberta-large --folds 5"
)
@plan_options
@engine_options
@cluster_options
@gold_option
@click.option(
    "--per-language",
    is_flag=True,
    help="One model per language instead of one for all; one zip all the same.",
)
@click.option(
    "--before/--no-before",
    default=None,
    help="Measure the encoder before fine-tuning, too. Default: as the recipe says.",
)
@click.option(
    "--report/--no-report", default=True, show_default=True, help="Write report.html and the card."
)
def run(gold: Path | None, per_language: bool, report: bool, **given: Any) -> None:
    """All stages: folds, training, probabilities, thresholds, zip and score.

    Interrupt it whenever you like: the same command goes on where it stopped.
    """
    from semeval_kit.cli.summary import summarise
    from semeval_kit.run.stages import present, run_all, run_each_language
    from semeval_kit.training.recipe import load_members

    if given["recipe"] is not None and load_members(given["recipe"]):
        if per_language or given.pop("before"):
            raise click.UsageError("a recipe of members takes neither --per-language nor --before.")
        from semeval_kit.cli.members import run_system

        run_system(given, gold)
        return
    path, plan = read_plan(given)
    if per_language and given["engine"] != "local":
        raise click.UsageError("--per-language makes several runs: hand out one --langs at a time.")
    if hand_out(path, plan, given, gold):
        return
    engine = read_engine(given)
    try:
        work = run_each_language if per_language else run_all
        done = work(path, plan, engine, gold, say)
    except KeyboardInterrupt:
        say(f"\ninterrupted; the same command goes on with {path}")
        raise SystemExit(130) from None
    if report:
        present(done, say)
    click.echo(summarise(done))


@click.command(
    epilog="Example:  semeval-kit prepare --task semeval2025-task11-a --data official --langs eng"
)
@plan_options
def prepare(**given: Any) -> None:
    """Read and check the data, make the folds, and freeze the run's settings."""
    from semeval_kit.run import stages

    path, plan = read_plan(given)
    click.echo(stages.prepare(path, plan, say).path)


@click.command(
    epilog="Example:  semeval-kit sweep --model roberta-base --model bert-base-cased "
    "--task semeval2025-task11-a --data official --langs eng"
)
@click.option(
    "--model", "models", multiple=True, help="An encoder; repeat it. Default: as the recipe lists."
)
@sweep_options
@engine_options
@cluster_options
@gold_option
@click.pass_context
def sweep(
    context: click.Context, /, models: tuple[str, ...], gold: Path | None, **given: Any
) -> None:
    """Train several encoders under one recipe, then compare them in one table.

    Each run gets its report and card as with `run`. An encoder that fails is reported at the end;
    the others are trained and compared. Interrupted, the same command goes on where it stopped.
    """
    from semeval_kit.cli.show import compare
    from semeval_kit.errors import KitError
    from semeval_kit.run.stages import present, run_all
    from semeval_kit.task.task import load_task
    from semeval_kit.training.recipe import load_comparison

    if given["run_name"] is not None:
        raise click.UsageError("--run names one run; a sweep names each by its encoder.")
    recipe = given["recipe"] or load_task(given["task"]).recipe
    models = models or load_comparison(recipe).encoders
    if not models:
        raise click.UsageError(
            f"recipe '{recipe}' lists no encoders: name them, such as --model a --model b."
        )
    done, failed = [], []
    for position, model in enumerate(models, start=1):
        path, plan = read_plan({**given, "model": model})
        say(f"[{position}/{len(models)}] {model}: {path}")
        try:
            if hand_out(path, plan, given, gold):
                continue
            run = run_all(path, plan, read_engine(dict(given)), gold, say)
            done.append(run.path)
            present(run, say)
        except KitError as error:
            failed.append(f"{model}: {error.message}")
        except KeyboardInterrupt:
            say(f"\ninterrupted; the same command goes on with {path}")
            raise SystemExit(130) from None
    if done:
        context.invoke(compare, runs=tuple(done))
    if failed:
        raise KitError("not every encoder could be trained.\n" + "\n".join(failed))
