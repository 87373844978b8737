"""`search`: trials of a recipe on the same folds, the winner confirmed on others."""

from __future__ import annotations

from typing import Any

import click

from semeval_kit.cli.options import (
    cluster_options,
    engine_options,
    hand_out_copies,
    plan_options,
    read_engine,
    read_plan,
    say,
)


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
    from semeval_kit.run.prepare import SearchPlan
    from semeval_kit.run.search import search as run_search
    from semeval_kit.show.search import describe_search, write_search_page
    from semeval_kit.training.space import load_space

    recipe = given.pop("start")
    if recipe and given["recipe"]:
        raise click.UsageError("name the recipe once: as the argument or by --recipe.")
    given["recipe"] = recipe or given["recipe"]
    own = {name: given.pop(name) for name in ("n_trials", "hours", "objective", "storage")}
    keep_models, space_name = given.pop("keep_models"), given.pop("space_name")
    named = given["run_name"] is not None
    path, plan = read_plan(given)
    path = path if named else path.with_name(f"{path.name}_search")
    asked = SearchPlan(plan, load_space(space_name, plan.config), keep_models=keep_models, **own)
    if hand_out_copies(context, path, given, asked.n_trials):
        return
    try:
        results = run_search(path, asked, read_engine(given), say)
    except KeyboardInterrupt:
        say(f"\ninterrupted; the same command goes on with {path}")
        raise SystemExit(130) from None
    click.echo("\n".join(describe_search(results)))
    click.echo(f"\npage:    {write_search_page(path, results)}")
