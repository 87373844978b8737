"""Commands that show a run to people: `report` and `figures`."""

from __future__ import annotations

from pathlib import Path

import click

from semeval_kit.cli.options import data_option

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_RUN = click.argument("run_path", metavar="RUN", type=_FOLDER)
_BEFORE = click.option(
    "--before",
    type=_FOLDER,
    help="A run of the same encoder with --epochs 0: adds a radar chart of before and after. "
    "Default: what `run --before` left inside the run.",
)


@click.command(epilog="Example:  semeval-kit report submissions/my-run --open")
@_RUN
@data_option
@_BEFORE
@click.option("--open", "show", is_flag=True, help="Show the page in the browser.")
def report(run_path: Path, data: Path | None, before: Path | None, show: bool) -> None:
    """Write one self-contained HTML page about a finished run: report.html in its folder."""
    from semeval_kit.run.directory import Run
    from semeval_kit.show.report import write_report

    earlier = Run.open(before, data) if before else None
    path = write_report(Run.open(run_path, data), earlier)
    click.echo(path)
    if show:
        click.launch(str(path))


@click.command(epilog="Example:  semeval-kit figures submissions/my-run --format png,svg")
@_RUN
@data_option
@_BEFORE
@click.option(
    "--format",
    "formats",
    default="png,svg",
    show_default=True,
    help="png (200 dots per inch), svg, or both with a comma between them.",
)
def figures(run_path: Path, data: Path | None, before: Path | None, formats: str) -> None:
    """Draw the pictures of a run, as far as it has come, into figures/ in its folder."""
    from semeval_kit.run.directory import Run
    from semeval_kit.show.figures.pictures import write_figures

    wanted = [name.strip().lower() for name in formats.split(",") if name.strip()]
    run, earlier = Run.open(run_path, data), Run.open(before, data) if before else None
    for path in write_figures(run, earlier, wanted):
        click.echo(path)
