"""The command line: a group whose commands are loaded when they are called."""

from __future__ import annotations

import atexit
import gc
from importlib import import_module

import click

from semeval_kit import __version__

# name -> where it is, and the line of help in the list of commands
_COMMANDS = {
    "demo": ("demo:demo", "The main job on the data that comes with the kit."),
    "run": ("main_job:run", "All stages: from the organisers' files to the zip and its score."),
    "sweep": ("main_job:sweep", "Several encoders under one recipe, compared in one table."),
    "prepare": ("stages:prepare", "Check the data, make the folds, freeze the run."),
    "train": ("stages:train", "Train the folds that are not finished."),
    "probs": ("stages:probs", "Probabilities of the dev and test splits."),
    "tune": ("stages:tune", "Thresholds, and an honest estimate of their score."),
    "pack": ("stages:pack", "Predictions and the zip to upload."),
    "validate": ("competition:validate", "Check any zip or folder as the organisers would."),
    "score": ("competition:score", "Score any zip or folder as the organisers would."),
    "upload": ("upload:upload", "Upload the zip to Codabench and wait for its score."),
    "compare": ("compare:compare", "One table over many runs, with intervals and p."),
    "report": ("report:report", "One HTML page about a run."),
    "figures": ("report:figures", "The pictures of a run as PNG and SVG."),
    "explain": ("explain:explain", "Which tokens push which label."),
    "predict": ("predict:predict", "Labels and probabilities of any text."),
    "paper": ("paper:paper", "Tables and BibTeX for the system paper."),
    "card": ("publish:card", "The model card of a run."),
    "export": ("publish:export", "One folder with model, thresholds and card."),
    "push": ("publish:push", "Upload an exported folder to the hub."),
    "data": ("data:data", "Fetch, check and count the organisers' files."),
    "tasks": ("tasks:tasks", "The tasks that the kit knows, and new ones."),
    "recipes": ("recipes:recipes", "The recipes and every field that they may set."),
}


class LazyGroup(click.Group):
    """A group that imports a command only when it is used, so that --help answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which people need them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, or None where there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(f"semeval_kit.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example:  semeval-kit demo",
)
@click.version_option(__version__, prog_name="semeval-kit")
def main() -> None:
    """From SemEval CSV files to a zip that Codabench accepts, with the score known beforehand."""


def start() -> None:
    """Run the command line as a program of its own.

    Importing torch and transformers makes a great many objects that stay. With rare collections on
    the way in and none on the way out, that takes about a quarter less time.
    """
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    main()
