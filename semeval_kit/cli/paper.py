"""`paper`: tables and references for the system paper."""

from __future__ import annotations

from pathlib import Path

import click

from semeval_kit.cli.options import data_option, say

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    epilog="Example:  semeval-kit paper submissions/best --compare submissions/no-dropout "
    "--compare submissions/best-seed-1"
)
@click.argument("run_path", metavar="RUN", type=_FOLDER)
@data_option
@click.option(
    "--compare",
    "others",
    multiple=True,
    type=_FOLDER,
    help="Another run: an ablation, or the same recipe with another seed. Repeat it.",
)
def paper(run_path: Path, data: Path | None, others: tuple[Path, ...]) -> None:
    """Write paper.md, paper.tex and references.bib into RUN/paper.

    What the kit cannot know (rank, team, search bounds) stands there as a visible TODO.
    """
    from semeval_kit.run.directory import Run
    from semeval_kit.show.paper import write_paper

    written = write_paper(
        Run.open(run_path, data),
        [Run.open(path, data) for path in others],
        tell=lambda name: say(f"comparing {name}"),
    )
    for path in written:
        click.echo(path)
