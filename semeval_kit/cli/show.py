"""What people look at, and what goes out: from `compare` and `report` to `export` and `push`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from semeval_kit.cli.options import (
    FILE,
    PLACE,
    RUN_FOLDER,
    THERE,
    WordsOption,
    data_option,
    open_run,
    print_json,
    run_argument,
    say,
)
from semeval_kit.plurals import count_noun
from semeval_kit.show.wording import SORTS

_BEFORE = click.option(
    "--before",
    type=RUN_FOLDER,
    help="A run of the same encoder with --epochs 0: adds a radar chart of before and after. "
    "Default: what `run --before` left inside the run.",
)
_FOLD = click.option(
    "--fold", default="best", show_default=True, help="Number of a fold, or 'best'."
)
_LICENCE = click.option(
    "--licence", "--license", "licence", default="", help="Of the model, such as cc-by-4.0."
)


@click.command(
    epilog="Example:  semeval-kit compare submissions/* --sort parameters --latex paper/runs.tex"
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=THERE)
@data_option
@click.option(
    "--split",
    type=click.Choice(["oof", "dev"]),
    default="oof",
    show_default=True,
    help="Out-of-fold training rows, or the dev split.",
)
@click.option("--sort", type=click.Choice(list(SORTS)), default="score", show_default=True)
@click.option("--csv", "csv_path", type=FILE)
@click.option("--markdown", "markdown_path", type=FILE)
@click.option("--latex", "latex_path", type=FILE)
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
    from semeval_kit.files import write_atomic
    from semeval_kit.show.compare import Resampling, compare_runs
    from semeval_kit.show.tables_of_comparisons import (
        comparison_latex,
        comparison_markdown,
        list_notes,
        tabulate_comparison,
    )
    from semeval_kit.show.tabulate import draw_tables

    opened = [open_run(path, data) for path in runs if (path / "run.json").is_file()]
    for other in sorted(set(runs) - {run.path for run in opened}):
        say(f"left out: {other} is no run")
    comparison = compare_runs(
        opened or [open_run(path, data) for path in runs],
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
        print_json(comparison.to_json())
    else:
        click.echo(draw_tables(tabulate_comparison(comparison), list_notes(comparison)))


@click.command(epilog="Example:  semeval-kit report submissions/my-run --open")
@run_argument
@data_option
@_BEFORE
@click.option("--open", "show", is_flag=True, help="Show the page in the browser.")
def report(run_path: Path, data: Path | None, before: Path | None, show: bool) -> None:
    """Write one self-contained HTML page about a finished run: report.html in its folder."""
    from semeval_kit.show.report import write_report

    earlier = open_run(before, data) if before else None
    path = write_report(open_run(run_path, data), earlier)
    click.echo(path)
    if show:
        click.launch(str(path))


@click.command(epilog="Example:  semeval-kit figures submissions/my-run --format png,svg")
@run_argument
@data_option
@_BEFORE
@click.option(
    "--format",
    "formats",
    cls=WordsOption,
    default="png,svg",
    show_default=True,
    help="png (200 dots per inch), svg, or both with a comma between them.",
)
def figures(run_path: Path, data: Path | None, before: Path | None, formats: str) -> None:
    """Draw the pictures of a run, as far as it has come, into figures/ in its folder."""
    from semeval_kit.show.figures.pictures import write_figures

    wanted = [name.strip().lower() for name in formats.split(",") if name.strip()]
    run, earlier = open_run(run_path, data), open_run(before, data) if before else None
    for path in write_figures(run, earlier, wanted):
        click.echo(path)


@click.command(
    epilog="Example:  semeval-kit paper submissions/best --compare submissions/no-dropout "
    "--compare submissions/best-seed-1"
)
@run_argument
@data_option
@click.option(
    "--compare",
    "others",
    multiple=True,
    type=RUN_FOLDER,
    help="Another run: an ablation, or the same recipe with another seed. Repeat it.",
)
def paper(run_path: Path, data: Path | None, others: tuple[Path, ...]) -> None:
    """Write paper.md, paper.tex and references.bib into RUN/paper.

    What the kit cannot know (rank, team, search bounds) stands there as a visible TODO.
    """
    from semeval_kit.show.paper import write_paper

    written = write_paper(
        open_run(run_path, data),
        [open_run(path, data) for path in others],
        tell=lambda name: say(f"comparing {name}"),
    )
    for path in written:
        click.echo(path)


@click.command(epilog="Example:  semeval-kit card submissions/my-run --licence cc-by-4.0")
@run_argument
@data_option
@_LICENCE
def card(run_path: Path, data: Path | None, licence: str) -> None:
    """Write the model card (README.md) of a finished run."""
    from semeval_kit.show.card import write_card

    run = open_run(run_path, data)
    write_card(run, licence)
    click.echo(run.card_file)


@click.command(epilog="Example:  semeval-kit export submissions/my-run --to my-model --fold best")
@run_argument
@click.option("--to", "folder", required=True, type=PLACE, help="A new folder.")
@_FOLD
@_LICENCE
def export(run_path: Path, folder: Path, fold: str, licence: str) -> None:
    """Write one folder with model, thresholds and card that transformers' pipeline() loads."""
    from semeval_kit.show.export import export_model

    run = open_run(run_path)
    click.echo(export_model(run, folder, fold=_read_fold(fold), licence=licence))


@click.command(epilog="Example:  semeval-kit push submissions/my-run --repo-id my-team/my-model")
@run_argument
@click.option("--repo-id", required=True, help="OWNER/NAME on the hub.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@_FOLD
@_LICENCE
def push(run_path: Path, repo_id: str, private: bool, fold: str, licence: str) -> None:
    """Export a fold's model and upload it to the Hugging Face hub.

    RUN may also be a folder that `export` made. The token is read from the environment variable
    HF_TOKEN.
    """
    from semeval_kit.show.export import export_model, push_model

    if (run_path / "thresholds.json").is_file() and not (run_path / "run.json").is_file():
        click.echo(push_model(run_path, repo_id, private=private))
        return
    run = open_run(run_path)
    with tempfile.TemporaryDirectory() as scratch:
        folder = export_model(run, Path(scratch) / "model", fold=_read_fold(fold), licence=licence)
        files = sorted(folder.iterdir())
        size = sum(file.stat().st_size for file in files) / 1e6
        say(f"uploading {count_noun(len(files), 'file')}, {size:.1f} MB, to {repo_id}")
        click.echo(push_model(folder, repo_id, private=private))


def _read_fold(text: str) -> int | None:
    if text == "best":
        return None
    if not text.isdecimal():
        raise click.BadParameter(f"'{text}' is neither a number nor 'best'", param_hint="--fold")
    return int(text)
