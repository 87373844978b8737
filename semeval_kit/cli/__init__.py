"""The command line: a group whose commands are loaded when they are called."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
from importlib import import_module
from types import FrameType
from typing import Any

import click

from semeval_kit import __version__
from semeval_kit.errors import DEBUG, explain_error

# name -> where it is, and the line of help in the list of commands
_COMMANDS = {
    "demo": ("data:demo", "The main job on the data that comes with the kit."),
    "run": ("main_job:run", "All stages: from the organisers' files to the zip and its score."),
    "sweep": ("main_job:sweep", "Several encoders under one recipe, compared in one table."),
    "search": ("main_job:search", "Trials of a recipe; the winner confirmed on new folds."),
    "blend": ("members:blend", "Blend runs into one: weights, thresholds, estimate, zip."),
    "adopt": ("members:adopt", "Take probabilities of any origin over into a run."),
    "system": ("members:system", "Train every member that a recipe lists, and blend them."),
    "pseudo-label": ("members:pseudo_label", "A run's probabilities as soft labels to learn."),
    "prepare": ("main_job:prepare", "Check the data, make the folds, freeze the run."),
    "train": ("stages:train", "Train the folds that are not finished."),
    "probs": ("stages:probs", "Probabilities of the dev and test splits."),
    "tune": ("stages:tune", "Thresholds, and an honest estimate of their score."),
    "pack": ("stages:pack", "Predictions and the zip to upload."),
    "status": ("stages:status", "Each fold of a run: waiting, running where, done, failed."),
    "stop": ("stages:stop", "Stop what is at work on a run, and nothing else."),
    "pack-run": ("stages:pack_run", "A run in one zip, to go on with it elsewhere."),
    "unpack-run": ("stages:unpack_run", "Unpack a run and compare every file with its hash."),
    "validate": ("competition:validate", "Check any zip or folder as the organisers would."),
    "merge-zips": ("competition:merge_zips", "The files of several zips in one zip."),
    "score": ("competition:score", "Score any zip or folder as the organisers would."),
    "upload": ("competition:upload", "Upload the zip to Codabench and wait for its score."),
    "compare": ("show:compare", "One table over many runs, with intervals and p."),
    "report": ("show:report", "One HTML page about a run."),
    "figures": ("show:figures", "The pictures of a run as PNG and SVG."),
    "explain": ("explain:explain", "Which tokens push which label."),
    "predict": ("predict:predict", "Labels and probabilities of any text."),
    "paper": ("show:paper", "Tables and BibTeX for the system paper."),
    "card": ("show:card", "The model card of a run."),
    "export": ("show:export", "One folder with model, thresholds and card."),
    "push": ("show:push", "Upload an exported folder to the hub."),
    "data": ("data:data", "Fetch, check and count the organisers' files."),
    "tasks": ("tasks:tasks", "The tasks that the kit knows, and new ones."),
    "recipes": ("tasks:recipes", "The recipes and every field that they may set."),
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

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what nobody foresaw is told without a traceback.

        The environment variable SEMEVAL_KIT_DEBUG=1 lets tracebacks through.
        """
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("\ninterrupted; the same command goes on where it stopped", err=True)
            raise SystemExit(130) from None
        except Exception as error:
            if os.environ.get(DEBUG) or getattr(error, "errno", None) == errno.EPIPE:
                raise
            raise explain_error(error) from error

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


def _stop(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    click.echo(f"\nstopped by {name}; the same command goes on where it stopped", err=True)
    raise SystemExit(128 + number)


def start() -> None:
    """Run the command line as a program of its own.

    Signals by which terminals and schedulers end a program leave by an exception, so that what it
    started is ended, too.

    Importing torch and transformers makes a great many objects that stay. With rare collections on
    the way in and none on the way out, that takes about a quarter less time.
    """
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # not under nohup
            signal.signal(number, _stop)
    main()
