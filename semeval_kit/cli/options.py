"""Options that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click

if TYPE_CHECKING:
    from semeval_kit.run.directory import Run
    from semeval_kit.run.stages import Engine, Plan
    from semeval_kit.task.task import Task

Command = TypeVar("Command", bound=Callable[..., Any])

# Of a run's name: the zip is named by it, and while it is written a little more.
_MOST_BYTES = 200
_MOST_NAMES = 5


class RunFolder(click.Path):
    """A run's folder; one that is not there is told with the name that is near."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or a usage error."""
        path = Path(os.path.expanduser(value))
        if not path.exists():
            from semeval_kit.task.task import nearest

            parent = path.parent if len(path.parts) > 1 else Path("submissions")
            there = parent.glob("*/run.json") if parent.is_dir() else ()
            by_name = {file.parent.name: str(file.parent) for file in there}
            hint = nearest(path.name, by_name)
            if hint:
                near = hint.split("'")[1]
                hint = f" (did you mean '{by_name[near]}'?)"
            elif by_name:
                hint = f". There are: {', '.join(sorted(by_name.values())[:_MOST_NAMES])}"
            self.fail(f"no run at '{value}'{hint}", param, ctx)
        return super().convert(str(path), param, ctx)


class WordsOption(click.Option):
    """A list with commas; given again it is joined, where else the last one would win."""

    def __init__(self, *names: Any, default: str | None = None, **given: Any) -> None:
        given |= {"multiple": True, "default": None if default is None else (default,)}
        super().__init__(*names, **given)

    def process_value(self, ctx: click.Context, value: Any) -> str | None:
        """All that was given as one text, or None."""
        lists = super().process_value(ctx, value)
        return ",".join(lists) if lists else None


# Types of arguments and options.
PLACE = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
THERE = click.Path(exists=True, path_type=Path)
FILE_THERE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER_THERE = click.Path(exists=True, file_okay=False, path_type=Path)
RUN_FOLDER = RunFolder(exists=True, file_okay=False, path_type=Path)
run_argument = click.argument("run_path", metavar="RUN", type=RUN_FOLDER)
runs_argument = click.argument("paths", metavar="RUN...", nargs=-1, required=True, type=RUN_FOLDER)
gold_option = click.option(
    "--gold",
    type=THERE,
    default=None,
    help="Labels of the test split (file or folder), to score the zip with.",
)
task_option = click.option(
    "--task", default="demo", show_default=True, help="Name, or a .toml file."
)
files_option = click.option(
    "--data",
    type=FOLDER,
    default=Path("data"),
    show_default=True,
    help="Folder of the organisers' files.",
)
report_option = click.option(
    "--report/--no-report", default=True, show_default=True, help="Write report.html and the card."
)
texts_option = click.option(
    "--file",
    type=FILE,
    help="One text per line; or the organisers' layout, if it ends in .csv or .tsv.",
)
fold_option = click.option(
    "--fold", type=click.IntRange(0), help="Only this fold's model. Default: the mean."
)
submissions_option = click.option(
    "--submissions",
    type=FOLDER,
    default=Path("submissions"),
    show_default=True,
    help="Where runs are kept.",
)


def plan_options(command: Command) -> Command:
    """Add the options that say what a run is: task, data, languages, encoder, recipe."""
    model = click.option(
        "--model",
        default=None,
        help="Encoder: hub id, local folder or 'embedded'; frozen:ENCODER: its features and a "
        "regression; 'tfidf': n-grams and a regression. Default: as the recipe says.",
    )
    return model(sweep_options(command))


def sweep_options(command: Command) -> Command:
    """Add the options of `plan_options` but the encoder, of which a sweep has several."""
    for name, field in reversed(_list_fields().items()):
        flag, kind = f"--{name.replace('_', '-')}", _flag_type(field.annotation)
        command = click.option(flag, name, type=kind, default=None, help=field.description)(command)
    for option in reversed(
        (
            task_option,
            files_option,
            click.option(
                "--langs",
                cls=WordsOption,
                help="Languages to predict: codes separated by commas or blanks, or 'all'.",
            ),
            click.option(
                "--train-langs",
                cls=WordsOption,
                help="Languages to learn from. Default: as predicted (cross-lingual: the others).",
            ),
            click.option(
                "--train-splits",
                cls=WordsOption,
                default="train",
                show_default=True,
                help="Splits to learn from, such as train,dev.",
            ),
            click.option(
                "--recipe",
                default=None,
                help="Recipe name or .toml file. Default: as the task says.",
            ),
            click.option("--run", "run_name", default=None, help="Name of the run's folder."),
            submissions_option,
        )
    ):
        command = option(command)
    return command


def split_words(text: str) -> tuple[str, ...]:
    """The words of a list with commas or blanks between them, each once."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def print_json(content: Any) -> None:
    """Print what a program would read."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def align_rows(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lay out rows of cells as lines of a table; the columns in `right` are flush right."""
    flush = set(right)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in flush else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _list_fields() -> dict[str, Any]:
    """Recipe fields that are flags by their own name; the encoder is --model."""
    from semeval_kit.training.recipe import Recipe

    return {name: field for name, field in Recipe.model_fields.items() if name != "encoder"}


def _flag_type(annotation: Any) -> Any:
    """The type of a flag for a recipe field: what may also be not set is as what it is if set."""
    if get_origin(annotation) is Literal:
        return click.Choice([word for word in get_args(annotation) if word])
    return next((t for t in get_args(annotation) if t is not type(None)), annotation)


def engine_options(command: Command) -> Command:
    """Add the options that say how a run is computed."""
    for option in (
        click.option("--processes", type=click.IntRange(1), default=1, help="Processes per fold."),
        click.option("--threads", type=click.IntRange(1), default=None, help="Threads per fold."),
        click.option("--jobs", type=click.IntRange(1), default=None, help="Folds side by side."),
        click.option(
            "--report-to",
            envvar="SEMEVAL_KIT_REPORT_TO",
            callback=_name_trackers,
            expose_value=False,
            metavar="TRACKERS",
            help="Trackers that are told of every epoch, with commas: wandb, tensorboard, "
            "trackio, mlflow.",
        ),
    ):
        command = option(command)
    return command


def find_system(given: dict[str, Any]) -> str | None:
    """The recipe of `given` if it lists members: the one asked for, or the task's own.

    The task's own makes a system of an encoder only: `--model tfidf` asks for a run alone.
    """
    from semeval_kit.task.task import load_task
    from semeval_kit.training.recipe import load_members
    from semeval_kit.training.source import EMBEDDED, is_encoder

    recipe: str | None = given["recipe"]
    if recipe is None and is_encoder(given["model"] or EMBEDDED):
        recipe = load_task(given["task"]).recipe
    return recipe if recipe is not None and load_members(recipe) else None


def name_recipe(task: Task) -> str:
    """The recipe of a run alone: the task's own, or that of the first member that it lists."""
    from semeval_kit.training.recipe import load_members

    return next((member.recipe for member in load_members(task.recipe)), task.recipe)


def read_plan(given: dict[str, Any]) -> tuple[Path, Plan]:
    """Turn the options of `plan_options` into the run's folder and plan; they leave `given`.

    Raises:
        KitError: a recipe or task cannot be used.
    """
    from semeval_kit.run.stages import Plan
    from semeval_kit.task.task import load_task
    from semeval_kit.training.recipe import load_comparison, load_recipe

    fields = {name: given.pop(name) for name in _list_fields()}
    fields["encoder"] = given.pop("model")
    overrides = {name: value for name, value in fields.items() if value is not None}
    task_name, recipe, name = given.pop("task"), given.pop("recipe"), given.pop("run_name")
    task = load_task(task_name)
    recipe = name_recipe(task) if recipe is None else recipe
    config = load_recipe(recipe, overrides)
    before = given.pop("before", None)
    languages = _read_languages(given.pop("langs"), task.predict_languages)
    plan = Plan(
        task=str(task_name),
        data=_expand("--data", given.pop("data")),
        languages=languages,
        config=config,
        train_languages=_read_languages(given.pop("train_langs") or "", task.train_languages),
        train_splits=_read_splits(given.pop("train_splits")),
        before=load_comparison(recipe).before if before is None else before,
    )
    if name is None:
        name = _name_run(task.name, languages, config.encoder, Path(recipe).stem)
    return place_run(given.pop("submissions"), name), plan


def place_run(submissions: Path, name: str, flag: str = "--run") -> Path:
    """The folder of a run of that name, which leads nowhere else.

    Raises:
        click.UsageError: the name, which `flag` gave, is a path, or longer than file systems take.
    """
    return _expand("--submissions", submissions) / _check_name(name, flag)


def read_engine(given: dict[str, Any]) -> Engine:
    """Turn the options of `engine_options` into an engine; they leave `given`."""
    from semeval_kit.run.stages import Engine

    return Engine(
        jobs=given.pop("jobs"), threads=given.pop("threads"), processes=given.pop("processes")
    )


def data_option(command: Command) -> Command:
    """Add the option that says where the organisers' files of a finished run lie now."""
    return click.option(
        "--data",
        type=FOLDER_THERE,
        default=None,
        help="Folder of the organisers' files. Default: where they were when the run was made.",
    )(command)


def _name_trackers(_: click.Context, __: click.Parameter, value: str | None) -> None:
    """See that the trackers are there before anything is done; the folds' processes inherit it."""
    if value:
        from semeval_kit.training.worker import REPORT_TO, read_trackers

        os.environ[REPORT_TO] = ",".join(read_trackers(value))


def open_run(path: Path, data: Path | None = None) -> Run:
    """Open a run whose data lies where it lay, or in `data` now.

    Raises:
        KitError: there is no run.
    """
    from semeval_kit.run.directory import Run

    return Run.open(path, data)


@contextmanager
def interruptible(path: Path) -> Iterator[None]:
    """Tell a person who interrupts the work on a folder how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"\ninterrupted; the same command goes on with {path}")
        raise SystemExit(130) from None


def say(text: str) -> None:
    """Tell a person how it goes, beside the results: on stderr."""
    click.echo(text, err=True)


def _read_languages(text: str | None, every: tuple[str, ...]) -> tuple[str, ...]:
    if text is None:
        if len(every) > 1:
            codes = " ".join(every)
            raise click.UsageError(
                f"--langs is missing: name one or more of {codes}, or 'all' (with make: LANGS=)."
            )
        return every
    if text.strip() == "all":
        return every
    return split_words(text)


def _read_splits(text: str) -> tuple[str, ...]:
    splits = split_words(text)
    if not splits or not set(splits) <= {"train", "dev"}:
        raise click.UsageError(f"--train-splits '{text}': expected train, dev or train,dev.")
    return splits


def _expand(flag: str, path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise click.UsageError(f"{flag} {path}: there is no such user.") from error


def _check_name(name: str, flag: str) -> str:
    if (
        not name
        or Path(name).name != name
        or "\\" in name
        or "\0" in name
        or name.startswith((".", "-"))
    ):
        raise click.UsageError(
            f"{flag} '{name}': expected a plain name. Where runs are kept is said by --submissions."
        )
    if len(name.encode("utf-8", errors="replace")) > _MOST_BYTES:
        raise click.UsageError(
            f"{flag}: a name has at most {_MOST_BYTES} bytes. Give a shorter one."
        )
    return name


def _name_run(task: str, languages: tuple[str, ...], encoder: str, recipe: str) -> str:
    codes = "-".join(languages) if len(languages) <= 3 else f"{len(languages)}-languages"
    kind, _, name = encoder.rpartition(":")
    model = "-".join(filter(None, [kind, Path(name).name.lower()]))
    return f"{task}_{codes}_{model}_{recipe}"
