"""Which engine does a run's jobs: this machine, a cluster, or whoever reads the commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from semeval_kit.cli.options import FILE_THERE, Command, read_engine, say

if TYPE_CHECKING:
    from semeval_kit.run.jobs import Job
    from semeval_kit.run.slurm import Cluster
    from semeval_kit.run.stages import Engine, Plan

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
                type=FILE_THERE,
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

    There is work for `most` copies, whose processes share the work in `path`.

    Returns:
        False for this machine.

    Raises:
        KitError: the jobs cannot be submitted.
    """
    if _is_local(given):
        return False
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
        is_given = context.get_parameter_source(name) == ParameterSource.COMMANDLINE
        if not is_given or value is None or name in ("engine", *_SLURM_FLAGS):
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
