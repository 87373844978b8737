"""`compare`: one table over many runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from semeval_kit.cli.options import data_option, say

_SORTS = (
    "score", "run", "encoder", "parameters", "train_loss", "val_loss", "seconds", "peak_rss_mb",
)  # fmt: skip


@click.command(
    epilog="Example:  semeval-kit compare submissions/* --sort parameters --latex paper/runs.tex"
)
@click.argument(
    "runs",
    metavar="RUN...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@data_option
@click.option(
    "--split",
    type=click.Choice(["oof", "dev"]),
    default="oof",
    show_default=True,
    help="Out-of-fold training rows, or the dev split.",
)
@click.option("--sort", type=click.Choice(_SORTS), default="score", show_default=True)
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--markdown", "markdown_path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--latex", "latex_path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All values as JSON instead of tables.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def compare(
    runs: tuple[Path, ...],
    data: Path | None,
    split: str,
    sort: str,
    csv_path: Path | None,
    markdown_path: Path | None,
    latex_path: Path | None,
    as_json: bool,
    seed: int,
) -> None:
    """Compare runs: scores with 95% intervals, and p against the best run.

    Each RUN is a folder under submissions/. The CSV holds every value in full precision; the
    Markdown and LaTeX (booktabs) files hold the tables that are shown.
    """
    from semeval_kit.run.directory import Run, write_atomic
    from semeval_kit.show.compare import Resampling, compare_runs
    from semeval_kit.show.tables_of_runs import (
        comparison_latex,
        comparison_markdown,
        list_notes,
        tabulate_comparison,
    )
    from semeval_kit.show.tabulate import draw_tables

    opened = [Run.open(path, data) for path in runs if (path / "run.json").is_file()]
    for other in sorted(set(runs) - {run.path for run in opened}):
        say(f"left out: {other} is no run")
    comparison = compare_runs(
        opened or [Run.open(path, data) for path in runs],
        split,
        sort=sort,
        resampling=Resampling(seed=seed),
        tell=lambda name: say(f"reading {name}"),
    )
    for path, text in (
        (csv_path, comparison.to_csv),
        (markdown_path, lambda: comparison_markdown(comparison)),
        (latex_path, lambda: comparison_latex(comparison)),
    ):
        if path is not None:
            write_atomic(path, text())
            say(f"wrote {path}")
    if as_json:
        click.echo(json.dumps(comparison.to_json(), indent=2, ensure_ascii=False))
    else:
        click.echo(draw_tables(tabulate_comparison(comparison), list_notes(comparison)))
