"""The main job end to end: `run`, `sweep`, `search`, and its first stage, `prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from semeval_kit.cli.engines import cluster_options, hand_out, hand_out_copies
from semeval_kit.cli.options import (
    engine_options,
    find_system,
    gold_option,
    interruptible,
    plan_options,
    read_engine,
    read_plan,
    report_option,
    say,
    sweep_options,
)


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
@report_option
def run(gold: Path | None, per_language: bool, report: bool, **given: Any) -> None:
    """All stages: folds, training, probabilities, thresholds, zip and score.

    Interrupt it whenever you like: the same command goes on where it stopped.
    """
    from semeval_kit.cli.summary import summarise
    from semeval_kit.run.stages import present, run_all, run_each_language

    recipe, alone = find_system(given), per_language or bool(given["before"])
    if recipe is not None and alone and given["recipe"]:
        raise click.UsageError("a recipe of members takes neither --per-language nor --before.")
    if recipe is not None and not alone:
        from semeval_kit.cli.members import run_system

        del given["before"]
        run_system({**given, "recipe": recipe}, gold, report)
        return
    path, plan = read_plan(given)
    if per_language and given["engine"] != "local":
        raise click.UsageError("--per-language makes several runs: hand out one --langs at a time.")
    if hand_out(path, plan, given, gold):
        return
    engine = read_engine(given)
    with interruptible(path):
        work = run_each_language if per_language else run_all
        done = work(path, plan, engine, gold, say)
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
            with interruptible(path):
                run = run_all(path, plan, read_engine(dict(given)), gold, say)
                done.append(run.path)
                present(run, say)
        except KitError as error:
            failed.append(f"{model}: {error.message}")
    if done:
        context.invoke(compare, runs=tuple(done))
    if failed:
        raise KitError("not every encoder could be trained.\n" + "\n".join(failed))


@click.command(
    epilog="Example:  semeval-kit search default --space default --trials 40 --hours 8 "
    "--task semeval2025-task11-a --data official --langs eng"
)
@click.argument("start", metavar="[RECIPE]", required=False)
@click.option(
    "--space", "space_name", default="default", show_default=True, help="Name, or a .toml file."
)
@click.option(
    "--trials",
    "n_trials",
    type=click.IntRange(2),
    default=40,
    show_default=True,
    help="In all, by all processes; the recipe itself is the first.",
)
@click.option(
    "--hours",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="After so long this process begins no fold; confirming comes on top.",
)
@click.option(
    "--objective",
    type=click.Choice(["score", "map"]),
    default="score",
    show_default=True,
    help="score: the official metric, cross-fitted; map: mean average precision, no threshold.",
)
@click.option(
    "--storage",
    envvar="SEMEVAL_KIT_STORAGE",
    default="",
    help="URL of a database that keeps the trials. Default: a journal file in the folder.",
)
@click.option("--keep-models", is_flag=True, help="Keep the weights of all trials.")
@plan_options
@engine_options
@cluster_options
@click.pass_context
def search(context: click.Context, /, **given: Any) -> None:
    """Search for a better recipe: trials on the same folds, the winner confirmed on others.

    The same command goes on after a kill, and may run many times at once, on this machine or on
    others that share the folder: they share the trials.
    """
    from semeval_kit.run.plan import SearchPlan
    from semeval_kit.run.search import search as run_search
    from semeval_kit.show.search import describe_search, write_search_page
    from semeval_kit.training.space import load_space

    recipe = given.pop("start")
    if recipe and given["recipe"]:
        raise click.UsageError("name the recipe once: as the argument or by --recipe.")
    given["recipe"] = recipe or given["recipe"]
    terms = {name: given.pop(name) for name in ("n_trials", "hours", "objective", "storage")}
    keep_models, space_name = given.pop("keep_models"), given.pop("space_name")
    named = given["run_name"] is not None
    path, plan = read_plan(given)
    path = path if named else path.with_name(f"{path.name}_search")
    asked = SearchPlan(plan, load_space(space_name, plan.config), keep_models=keep_models, **terms)
    if hand_out_copies(context, path, given, asked.n_trials):
        return
    with interruptible(path):
        results = run_search(path, asked, read_engine(given), say)
    click.echo("\n".join(describe_search(results)))
    click.echo(f"\npage:    {write_search_page(path, results)}")
