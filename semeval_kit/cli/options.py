"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from semeval_kit.run.directory import Run
    from semeval_kit.run.jobs import Job
    from semeval_kit.run.slurm import Cluster
    from semeval_kit.run.stages import Engine, Plan

Command = TypeVar("Command", bound=Callable[..., Any])

# Of a run's name: the zip is named by it, and while it is written a little more.
_MOST_BYTES = 200
_MOST_NAMES = 5


class RunFolder(click.Path):
    """A run's folder; one that is not there is told with the name that is near."""

    def __init__(self) -> None:
        """As a `click.Path` of a folder."""
        super().__init__(exists=True, file_okay=False, path_type=Path)

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


RUN_FOLDER = RunFolder()
run_argument = click.argument("run_path", metavar="RUN", type=RUN_FOLDER)
runs_argument = click.argument("paths", metavar="RUN...", nargs=-1, required=True, type=RUN_FOLDER)
gold_option = click.option(
    "--gold",
    type=click.Path(exists=True, path_type=Path),
    default=None,
    help="Labels of the test split (file or folder), to score the zip with.",
)
task_option = click.option(
    "--task", default="demo", show_default=True, help="Name, or a .toml file."
)
files_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder of the organisers' files.",
)
submissions_option = click.option(
    "--submissions",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("submissions"),
    show_default=True,
    help="Where runs are kept.",
)
_SLURM_FLAGS = {
    "partition": "--partition",
    "gpus": "--gpus",
    "cpus": "--cpus",
    "time_limit": "--time",
    "max_jobs": "--max-jobs",
    "cluster_file": "--cluster-file",
}
# Processes of a cluster that share one work, where --max-jobs does not say.
_COPIES = 4


def plan_options(command: Command) -> Command:
    """Add the options that say what a run is: task, data, languages, encoder, recipe."""
    model = click.option(
        "--model",
        default=None,
        help="Encoder: hub id, local folder or 'embedded'; 'tfidf': n-grams and regression, no "
        "encoder. Default: as the recipe says.",
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
                default=None,
                help="Languages to predict: codes separated by commas or blanks, or 'all'.",
            ),
            click.option(
                "--train-langs",
                default=None,
                help="Languages to learn from. Default: as predicted (cross-lingual: the others).",
            ),
            click.option(
                "--train-splits",
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


def cluster_options(command: Command) -> Command:
    """Add the options that say which engine does a run's jobs, and what a cluster is asked for."""
    for option in reversed(
        (
            click.option(
                "--engine",
                type=click.Choice(["local", "commands", "slurm"]),
                default="local",
                show_default=True,
                help="local: this machine; slurm: a cluster; commands: print the jobs.",
            ),
            click.option("--partition", default=None, help="Slurm: where jobs run."),
            click.option("--gpus", type=click.IntRange(0), default=None, help="Slurm: per job."),
            click.option("--cpus", type=click.IntRange(1), default=None, help="Slurm: per job."),
            click.option("--time", "time_limit", default=None, help="Slurm: per job, H:MM:SS."),
            click.option(
                "--max-jobs", type=click.IntRange(1), default=None, help="Slurm: at once."
            ),
            click.option(
                "--cluster-file",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                default=None,
                envvar="SEMEVAL_KIT_CLUSTER",
                show_envvar=True,
                help="Slurm: the same and more as a TOML file, see docs/cluster.md.",
            ),
        )
    ):
        command = option(command)
    return command


def hand_out(path: Path, plan: Plan, given: dict[str, Any], gold: Path | None = None) -> bool:
    """Prepare a run and give its jobs to the engine that `given` names; False for this machine.

    Raises:
        KitError: the data has errors, or the jobs cannot be submitted.
    """
    if _is_local(given):
        return False
    from semeval_kit.run import jobs, stages

    if plan.before:
        say("the encoder before fine-tuning is not measured by jobs: run the same command here")
    run = stages.prepare(path, plan, say)
    hand_out_jobs(run.path, jobs.list_jobs(run, read_job_engine(given), gold), given)
    return True


def hand_out_jobs(
    folder: Path, listed: Sequence[Job], given: dict[str, Any], wait_for: Sequence[str] = ()
) -> dict[str, str]:
    """Give jobs to the engine that `given` names; what has jobs needs no more than this.

    Args:
        folder: a run, or what is to be one; it keeps the cluster's scripts and logs.
        listed: the jobs.
        given: options of `cluster_options`.
        wait_for: numbers of jobs of other folders that those with `after` wait for.

    Returns:
        The number that the cluster gave to each job, by name; none of printed ones.

    Raises:
        KitError: the jobs cannot be submitted.
    """
    from semeval_kit.run import jobs, slurm

    if not listed:
        say(f"{folder}: everything is done")
        return {}
    if given["engine"] == "commands":
        click.echo(jobs.spell_jobs(listed))
        return {}
    ids = slurm.submit_jobs(folder, listed, _read_cluster(given), say, wait_for=wait_for)
    say(f"see `semeval-kit status {folder} --watch`; `semeval-kit stop {folder}` cancels them")
    return ids


def read_job_engine(given: dict[str, Any]) -> Engine:
    """How each job is computed: on a cluster with as many threads as it asks cores for."""
    engine = read_engine(dict(given))
    if given["engine"] == "slurm" and engine.threads is None:
        return replace(engine, threads=max(_read_cluster(given).cpus // engine.processes, 1))
    return engine


def _read_cluster(given: dict[str, Any]) -> Cluster:
    from semeval_kit.run.slurm import read_cluster

    asked = {name: given[name] for name in ("partition", "gpus", "cpus", "max_jobs")}
    asked["minutes"] = _read_minutes(given["time_limit"])
    return read_cluster(given["cluster_file"], asked)


def hand_out_copies(context: click.Context, path: Path, given: dict[str, Any], most: int) -> bool:
    """Give the command itself to the engine that `given` names, as many times as --max-jobs says.

    Args:
        context: of the command, whose processes share the work in `path`.
        path: the folder.
        given: the options of `cluster_options`.
        most: copies that there is work for.

    Returns:
        False for this machine.

    Raises:
        KitError: the jobs cannot be submitted.
    """
    if _is_local(given):
        return False
    import shlex

    from semeval_kit.run.jobs import Job

    words = (str(context.info_name), *_spell_given(context))
    if given["engine"] == "commands":
        click.echo("# as often as you like, at once, on any machine that sees the folder")
        click.echo(shlex.join(["semeval-kit", *words]))
        return True
    copies = min(given["max_jobs"] or _COPIES, most)
    hand_out_jobs(path, [Job(f"process-{number}", (words,)) for number in range(copies)], given)
    return True


def _is_local(given: dict[str, Any]) -> bool:
    """Whether this machine is the engine, which takes none of a cluster's flags."""
    if given["engine"] != "local":
        return False
    flags = [flag for name, flag in _SLURM_FLAGS.items() if given[name] is not None]
    if flags:
        raise click.UsageError(
            f"{', '.join(flags)}: of a Slurm job; give --engine slurm. On this machine all GPUs "
            "are used by themselves; CUDA_VISIBLE_DEVICES hides some."
        )
    return True


def _spell_given(context: click.Context) -> list[str]:
    """The words of a command line as a person gave them, without those of `cluster_options`."""
    words = []
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        spoken = context.get_parameter_source(name) == ParameterSource.COMMANDLINE
        if not spoken or value is None or name in ("engine", *_SLURM_FLAGS):
            continue  # what is not among the values, such as --report-to, goes by the environment
        flag = isinstance(parameter, click.Option) and parameter.is_flag
        if isinstance(parameter, click.Option):
            words.append((parameter.opts if value or not flag else parameter.secondary_opts)[0])
        if not flag:
            words.append(str(value))
    return words


def _read_minutes(text: str | None) -> int | None:
    parts = (text or "").split(":")
    if text is None:
        return None
    if not 1 <= len(parts) <= 3 or not all(part.isdecimal() for part in parts):
        raise click.UsageError(f"--time '{text}': expected H:MM:SS, such as 4:00:00.")
    hours, minutes, seconds = ([int(part) for part in parts] + [0, 0])[:3]
    return max(60 * hours + minutes + (seconds > 0), 1)


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
    recipe = recipe or task.recipe
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
    return _expand("--submissions", given.pop("submissions")) / _check_name(name), plan


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
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=None,
        help="Folder of the organisers' files. Default: where they were when the run was made.",
    )(command)


def _name_trackers(_: click.Context, __: click.Parameter, value: str | None) -> None:
    """See that the trackers are there before anything is done; the folds' processes inherit it."""
    if value:
        from semeval_kit.training.trackers import REPORT_TO, read_trackers

        os.environ[REPORT_TO] = ",".join(read_trackers(value))


def open_run(path: Path, data: Path | None = None) -> Run:
    """Open a run whose data lies where it lay, or in `data` now.

    Raises:
        KitError: there is no run.
    """
    from semeval_kit.run.directory import Run

    return Run.open(path, data)


def say(text: str) -> None:
    """Tell a person how it goes, beside the results: on stderr."""
    click.echo(text, err=True)


def _read_languages(text: str | None, every: tuple[str, ...]) -> tuple[str, ...]:
    if text is None:
        if len(every) > 1:
            known = " ".join(every)
            raise click.UsageError(f"--langs is missing: name one or more of {known}, or 'all'.")
        return every
    if text.strip() == "all":
        return every
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def _read_splits(text: str) -> tuple[str, ...]:
    splits = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if not splits or not set(splits) <= {"train", "dev"}:
        raise click.UsageError(f"--train-splits '{text}': expected train, dev or train,dev.")
    return splits


def _expand(flag: str, path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise click.UsageError(f"{flag} {path}: there is no such user.") from error


def _check_name(name: str) -> str:
    if (
        not name
        or Path(name).name != name
        or "\\" in name
        or "\0" in name
        or name.startswith((".", "-"))
    ):
        raise click.UsageError(
            f"--run '{name}': expected a plain name. Where runs are kept is said by --submissions."
        )
    if len(name.encode("utf-8", errors="replace")) > _MOST_BYTES:
        raise click.UsageError(
            f"--run: a name has at most {_MOST_BYTES} bytes. Give a shorter one."
        )
    return name


def _name_run(task: str, languages: tuple[str, ...], encoder: str, recipe: str) -> str:
    spoken = "-".join(languages) if len(languages) <= 3 else f"{len(languages)}-languages"
    kind, _, name = encoder.rpartition(":")
    model = "-".join(filter(None, [kind, Path(name).name.lower()]))
    return f"{task}_{spoken}_{model}_{recipe}"
