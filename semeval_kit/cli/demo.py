"""The command `demo`: the main job on the data that comes with the kit."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

_EPILOG = """\b
Example:
  semeval-kit demo
  semeval-kit demo --model roberta-base --epochs 5
"""


@click.command(context_settings={"ignore_unknown_options": True}, epilog=_EPILOG)
@click.argument("flags", metavar="[FLAGS OF run]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def demo(context: click.Context, flags: tuple[str, ...]) -> None:
    """Train, tune, pack and score the 980 demo texts that come with the kit.

    The same as `run --task demo` with the kit's own data: nothing has to be fetched. The run lies
    in submissions/ below the current folder. Every flag of `run` may follow.
    """
    from semeval_kit.cli.main_job import run

    arguments = ["--task", "demo", "--data", str(find_demo_data()), *flags]
    with run.make_context("run", arguments, parent=context) as inner:
        run.invoke(inner)


def find_demo_data() -> Path:
    """The folder of the demo data: inside an installed package, or `data/` of a checkout."""
    packaged = Path(str(resources.files("semeval_kit") / "demo_data"))
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "data"
