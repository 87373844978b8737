"""The commands that make one system of many members: blend, adopt, system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semeval_kit.cli.engines import cluster_options, hand_out_jobs, read_job_engine
from semeval_kit.cli.options import (
    FILE,
    RUN_FOLDER,
    WordsOption,
    engine_options,
    files_option,
    gold_option,
    interruptible,
    open_run,
    place_run,
    plan_options,
    read_engine,
    read_plan,
    report_option,
    run_argument,
    say,
    split_words,
    submissions_option,
    task_option,
)
from semeval_kit.plurals import count_noun

if TYPE_CHECKING:
    from semeval_kit.run.blending import SystemPlan


@click.command(
    epilog="Example:  semeval-kit blend submissions/eng-minilm submissions/eng-tfidf --to eng-blend"
)
@click.argument("paths", metavar="RUN RUN...", nargs=-1, required=True, type=RUN_FOLDER)
@click.option("--to", "name", required=True, help="Name of the blend's folder.")
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="NAME=SHARE",
    help="The share of a member, set by hand; the others share the rest. Repeat it.",
)
@click.option(
    "--langs", cls=WordsOption, help="Languages to predict. Default: those of all members."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of bootstraps and parts.")
@gold_option
@report_option
@submissions_option
def blend(
    paths: tuple[Path, ...],
    name: str,
    weights: tuple[str, ...],
    langs: str | None,
    seed: int,
    gold: Path | None,
    report: bool,
    submissions: Path,
) -> None:
    """Blend runs into a new one: weights, thresholds, estimate, zip.

    Weights are chosen on out-of-fold rows by forward selection. The blend's own out-of-fold rows
    are blended by weights that they had no say in, so its estimate is as honest as a run's.
    """
    from semeval_kit.cli.summary import summarise
    from semeval_kit.run.blending import BlendPlan, blend_runs
    from semeval_kit.run.stages import present

    place = place_run(submissions, name, "--to")
    plan = BlendPlan(
        weights=dict(_read_weight(text) for text in weights),
        languages=split_words(langs or ""),
        seed=seed,
    )
    runs = [open_run(path) for path in paths]
    done = blend_runs(place, runs, plan, gold, say)
    if report:
        present(done, say)
    click.echo(describe_blend(done.path))
    click.echo(summarise(done))


@click.command(
    epilog="Example:  semeval-kit adopt train=llm-oof.csv test=llm-test.csv --langs eng --to my-llm"
)
@click.argument("files", metavar="[SPLIT=]FILE...", nargs=-1, required=True)
@task_option
@files_option
@click.option("--langs", cls=WordsOption, required=True, help="Languages that the files speak of.")
@click.option("--to", "name", required=True, help="Name of the run's folder.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the parts of its rows.")
@gold_option
@submissions_option
def adopt(
    files: tuple[str, ...],
    task: str,
    data: Path,
    langs: str,
    name: str,
    seed: int,
    gold: Path | None,
    submissions: Path,
) -> None:
    """Take probabilities or labels of any origin over into a run, to be blended.

    A CSV or JSONL file has a column id, one per label (0..1 or as in the data), and, where these
    are not plain, language and split. Training rows must be out-of-fold.
    """
    from semeval_kit.cli.summary import summarise
    from semeval_kit.run.adopting import AdoptPlan, adopt_files

    place = place_run(submissions, name, "--to")
    named = [text.partition("=") if "=" in text else ("", "", text) for text in files]
    plan = AdoptPlan(
        task=task,
        data=data,
        languages=split_words(langs),
        files=tuple((split, Path(path)) for split, _, path in named),
        seed=seed,
    )
    done = adopt_files(place, plan, gold, say)
    click.echo(summarise(done))


@click.command(
    epilog="Example:  semeval-kit system strong --task semeval2025-task11-a --data official "
    "--langs eng"
)
@click.argument("members_of", metavar="RECIPE")
@plan_options
@engine_options
@cluster_options
@gold_option
def system(members_of: str, gold: Path | None, **given: Any) -> None:
    """Train every member that a recipe lists, blend them, and pack the zip.

    Interrupt it whenever you like: the same command goes on where it stopped.
    """
    from semeval_kit.errors import KitError
    from semeval_kit.training.recipe import load_members

    if not load_members(members_of):
        raise KitError(f"recipe '{members_of}': lists no [[members]]; `semeval-kit run` takes it.")
    run_system({**given, "recipe": members_of}, gold)


def run_system(given: dict[str, Any], gold: Path | None, report: bool = True) -> None:
    """Build the system of `given["recipe"]`; the other options are those of `run`.

    Raises:
        KitError: a member cannot be used, fails, or does not fit.
    """
    from semeval_kit.cli.summary import summarise
    from semeval_kit.run.blending import SystemPlan, build_system
    from semeval_kit.run.stages import present
    from semeval_kit.training.recipe import load_members
    from semeval_kit.training.source import EMBEDDED

    recipe, encoder = given.pop("recipe"), given.pop("model") or EMBEDDED
    members = load_members(recipe)
    seeds = given.pop("seed")
    plans, whole = {}, None
    for member in members:
        own = {name: value for name, value in member.fields.items() if given.get(name) is None}
        given_member = {
            **given,
            **own,
            "recipe": member.recipe,
            "model": None if member.model is None else member.model.replace("*", encoder),
            "seed": seeds if member.seed is None else member.seed + (seeds or 0),
        }
        path, plans[member.name] = read_plan(given_member)
        if whole is None:
            name = given["run_name"] or f"{path.name.rpartition('_')[0]}_{Path(recipe).stem}"
            whole = path.with_name(name)
    assert whole is not None
    weights = {m.name: m.weight for m in members if m.weight is not None}
    system_plan = SystemPlan(plans, weights)
    if given["engine"] != "local":
        _hand_out_system(whole, system_plan, given, gold)
        return
    with interruptible(whole):
        done = build_system(whole, system_plan, read_engine(given), gold, say)
    if report:
        present(done, say)
    click.echo(describe_blend(done.path))
    click.echo(summarise(done))


@click.command(
    "pseudo-label",
    epilog="Example:  semeval-kit pseudo-label submissions/my-blend --split test --to soft.csv",
)
@run_argument
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option(
    "--sure",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Only rows whose least certain label is at least so certain: max(p, 1 - p).",
)
@click.option("--to", "target", required=True, type=FILE, help="A CSV.")
def pseudo_label(run_path: Path, split: str, sure: float, target: Path) -> None:
    """Write a run's probabilities of a split as soft labels, for `--extra` of another run.

    The other run's models learn texts that they are tested on, without their gold: transductive,
    which has to be asked for and is told in the paper. What its own out-of-fold rows score is then
    too high: this run's models have learnt those rows.
    """
    from semeval_kit.files import write_atomic
    from semeval_kit.run.stages import spell_soft_labels

    text, n_rows, n_all = spell_soft_labels(open_run(run_path), split, sure)
    write_atomic(target, text)
    say(f"{target}: {n_rows} of {count_noun(n_all, 'row')} of {split}. A run learns them with:")
    click.echo(f"--extra {target} --transductive true")


def _hand_out_system(
    whole: Path, plan: SystemPlan, given: dict[str, Any], gold: Path | None
) -> None:
    """Give the jobs of every member to an engine, and their blend, which waits for all."""
    from semeval_kit.run import jobs, stages
    from semeval_kit.run.blending import list_blend_job, locate_members

    wait_for, engine = [], read_job_engine(given)
    for name, path in locate_members(whole, plan).items():
        listed = jobs.list_jobs(stages.prepare(path, plan.members[name], say), engine)
        ids = hand_out_jobs(path, listed, given)
        wait_for += [ids[jobs.FINISH]] if jobs.FINISH in ids else []
    hand_out_jobs(whole, list_blend_job(whole, plan, gold), given, wait_for)


def describe_blend(path: Path) -> str:
    """What a blend weighs and what each member adds, in plain lines."""
    from semeval_kit.files import read_json
    from semeval_kit.run.directory import Run
    from semeval_kit.show.tabulate import show_interval
    from semeval_kit.show.wording import find_wording, name_measure

    run = Run.open(path)
    judged, weights = read_json(run.blend_file), read_json(run.weights_file)
    lines = [f"Weights of {', '.join(weights['names'])}:"]
    for language, table in (weights["values"] or {"all languages": weights["joint"]}).items():
        labels_apart = weights["own"].get(language, [])
        columns = dict(zip(weights["target_names"], table, strict=True))
        shared = [row for label, row in columns.items() if label not in labels_apart]
        told = [("" if not labels_apart else "other labels ", shared[0])] if shared else []
        told += [(f"{label} ", columns[label]) for label in labels_apart]
        figures = "; ".join(what + " ".join(f"{value:.2f}" for value in row) for what, row in told)
        lines.append(f"  {language:<14} {figures}")
    measure, n_rows = name_measure(judged["metric"], run.task.kind), judged["n_examples"]
    tuned = not find_wording(run.task).numeric
    lines += [
        "",
        f"Out-of-fold {measure} on {count_noun(n_rows, 'row')}"
        f"{', tuned' * tuned}, cross-fitted (95%); what the blend gains over it:",
    ]
    for system in judged["systems"]:
        gain, least, most = system["less"]
        line = f"  {system['name']:<28} {system['score']:.4f} {show_interval(system['interval'])}"
        if system["name"] != "blend":
            line += f"  {gain:+.4f} [{least:+.4f}, {most:+.4f}]"
        lines.append(line)
    if tuned:
        lines.append(
            "  Here all are tuned alike, on the blend's partition and by few bootstraps, so a "
            "member's\n  figure is not to the last digit that of its own run."
        )
    return "\n".join(lines)


def _read_weight(text: str) -> tuple[str, float]:
    name, _, share = text.rpartition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not name or not 0 <= value <= 1:
        raise click.UsageError(f"--weight {text}: give it as NAME=SHARE, such as my-llm=0.3.")
    return name, value
