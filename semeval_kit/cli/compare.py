"""`compare`: one table over many runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semeval_kit.cli.options import say

if TYPE_CHECKING:
    from semeval_kit.analysis.comparison import RunComparison
    from semeval_kit.analysis.tables import Table

_WIDTH = 100
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
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
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
    from semeval_kit.analysis.compare import compare_runs
    from semeval_kit.analysis.comparison_tables import comparison_tables, to_latex, to_markdown
    from semeval_kit.run import Run, write_atomic

    opened = [Run.open(path) for path in runs]
    found = compare_runs(
        opened, split, sort=sort, seed=seed, tell=lambda name: say(f"reading {name}")
    )
    for path, text in (
        (csv_path, found.to_csv),
        (markdown_path, lambda: to_markdown(found)),
        (latex_path, lambda: to_latex(found)),
    ):
        if path is not None:
            write_atomic(path, text())
            say(f"wrote {path}")
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        click.echo(_draw(comparison_tables(found), found))


def _draw(tables: list[Table], found: RunComparison) -> str:
    """The tables as text of at most 100 columns."""
    import io

    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=io.StringIO(), width=_WIDTH, highlight=False)
    for table in tables:
        drawn = RichTable(title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD)
        for place, column in enumerate(table.columns):
            left = place < table.n_text
            drawn.add_column(
                Text(column), justify="left" if left else "right", overflow="fold", no_wrap=not left
            )
        for row in table.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(drawn)
        console.print()
    for note in found.notes:
        console.print(Text(f"- {note}"))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.rstrip("\n")
