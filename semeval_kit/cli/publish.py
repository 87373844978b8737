"""`card`, `export` and `push`: a model for other people."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from semeval_kit.cli.options import data_option, say

_RUN = click.argument(
    "run_path", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
_FOLD = click.option(
    "--fold", default="best", show_default=True, help="Number of a fold, or 'best'."
)
_LICENCE = click.option(
    "--licence", "--license", "licence", default="", help="Of the model, such as cc-by-4.0."
)


@click.command(epilog="Example:  semeval-kit card submissions/my-run --licence cc-by-4.0")
@_RUN
@data_option
@_LICENCE
def card(run_path: Path, data: Path | None, licence: str) -> None:
    """Write the model card (README.md) of a finished run."""
    from semeval_kit.run.directory import Run
    from semeval_kit.show.card import write_card

    run = Run.open(run_path, data)
    write_card(run, licence)
    click.echo(run.card_file)


@click.command(epilog="Example:  semeval-kit export submissions/my-run --to my-model --fold best")
@_RUN
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path), help="A new folder."
)
@_FOLD
@_LICENCE
def export(run_path: Path, folder: Path, fold: str, licence: str) -> None:
    """Write one folder with model, thresholds and card that transformers' pipeline() loads."""
    from semeval_kit.run.directory import Run
    from semeval_kit.show.export import export_model

    run = Run.open(run_path)
    click.echo(export_model(run, folder, fold=_read_fold(fold), licence=licence))


@click.command(epilog="Example:  semeval-kit push submissions/my-run --repo-id my-team/my-model")
@_RUN
@click.option("--repo-id", required=True, help="OWNER/NAME on the hub.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@_FOLD
@_LICENCE
def push(run_path: Path, repo_id: str, private: bool, fold: str, licence: str) -> None:
    """Export a fold's model and upload it to the Hugging Face hub.

    RUN may also be a folder that `export` made. The token is read from the environment variable
    HF_TOKEN.
    """
    from semeval_kit.run.directory import Run
    from semeval_kit.show.export import export_model, push_model

    if (run_path / "thresholds.json").is_file() and not (run_path / "run.json").is_file():
        click.echo(push_model(run_path, repo_id, private=private))
        return
    run = Run.open(run_path)
    with tempfile.TemporaryDirectory() as scratch:
        folder = export_model(run, Path(scratch) / "model", fold=_read_fold(fold), licence=licence)
        files = sorted(folder.iterdir())
        size = sum(file.stat().st_size for file in files) / 1e6
        say(f"uploading {len(files)} files, {size:.1f} MB, to {repo_id}")
        click.echo(push_model(folder, repo_id, private=private))


def _read_fold(text: str) -> int | None:
    if text == "best":
        return None
    if not text.isdecimal():
        raise click.BadParameter(f"'{text}' is neither a number nor 'best'", param_hint="--fold")
    return int(text)
