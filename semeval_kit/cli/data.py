"""The organisers' files: bring them here, check and describe them; `demo` on those of the kit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semeval_kit.cli.options import (
    FILE,
    PLACE,
    WordsOption,
    align_rows,
    name_recipe,
    print_json,
    split_words,
)
from semeval_kit.plurals import count_noun

if TYPE_CHECKING:
    from semeval_kit.data.fetch import Fetched
    from semeval_kit.data.stats import SplitStats
    from semeval_kit.data.survey import CheckReport, FileReport
    from semeval_kit.task.task import Task

MAX_NAMED_FILES = 3
_DATA = click.option(
    "--data",
    "folder",
    type=PLACE,
    default=Path("data"),
    show_default=True,
    help="Folder with the official files.",
)
_LANGS = click.option(
    "--langs",
    cls=WordsOption,
    default="all",
    show_default=True,
    help="Languages, joined by commas.",
)


@click.group(epilog="\b\nExample:\n  semeval-kit data check semeval2025-task11-a --data FOLDER\n")
def data() -> None:
    """Bring, check and describe the organisers' files."""


@data.command(
    epilog="\b\nExample:\n"
    "  semeval-kit data fetch semeval2025-task11-a --langs eng,deu --to data/official\n"
    "  semeval-kit data fetch semeval2025-task11-a --from ~/Downloads/public_data\n"
)
@click.argument("task")
@click.option("--from", "source", type=PLACE, help="Copy from this folder.")
@click.option(
    "--to",
    "folder",
    type=PLACE,
    default=Path("data"),
    show_default=True,
    help="Folder to write to.",
)
@_LANGS
@click.option("--hub", "repo", help="Another hub data set, or a local folder of its layout.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest entries as JSON.")
def fetch(
    task: str, source: Path | None, folder: Path, langs: str, repo: str | None, as_json: bool
) -> None:
    """Bring the official files of TASK into a folder.

    From the hub data set that the task file names, or from a folder that has them already. Files
    are never overwritten: those in place are verified against manifest.json and kept.
    """
    from semeval_kit.data.fetch import fetch_from_folder, fetch_from_hub
    from semeval_kit.task.task import load_task

    loaded = load_task(task)
    codes = split_languages(langs)
    if source is not None:
        done = fetch_from_folder(loaded, source, folder, codes)
    else:
        done = fetch_from_hub(
            loaded,
            folder,
            codes,
            repo=repo,
            on_language=lambda language: click.echo(f"fetching {language}", err=True),
        )
    if as_json:
        print_json([vars(file) for file in done.files])
    else:
        _show_fetched(done)


@data.command(
    epilog="\b\nExample:\n"
    "  semeval-kit data check semeval2025-task11-a --data FOLDER\n"
    "  semeval-kit data check semeval2025-task11-a semeval2025-task11-b --data FOLDER\n"
)
@click.argument("tasks", nargs=-1, required=True)
@_DATA
@_LANGS
@click.option("--verbose", is_flag=True, help="Name every pair of ids with the same text.")
@click.option("--model", help="Also say what is cut from rows: an encoder as in a recipe.")
@click.option("--max-length", type=click.IntRange(min=4), help="Tokens per row, as in a recipe.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def check(
    context: click.Context,
    tasks: tuple[str, ...],
    folder: Path,
    langs: str,
    verbose: bool,
    model: str | None,
    max_length: int | None,
    as_json: bool,
) -> None:
    """Read all files of TASKS as training would, and tell what is odd.

    Goes on after an error in a file and exits with 1 at the end if there was one. Several tasks
    are compared with each other too: a track's test rows may stand in another's train file.
    """
    from semeval_kit.data.survey import check_tasks
    from semeval_kit.task.task import load_task

    loaded = [load_task(name) for name in dict.fromkeys(tasks)]
    report = check_tasks(loaded, folder, split_languages(langs))
    if as_json:
        print_json(report.to_json())
    else:
        for task in loaded:
            _show_table(task, [file for file in report.files if file.task == task.name])
        _show_findings(report, verbose)
        if model:
            _show_cuts(loaded, folder, report, model, max_length)
    if report.n_errors:
        context.exit(1)


@data.command(
    epilog="\b\nExample:\n"
    "  semeval-kit data stats semeval2025-task11-a --langs eng --data FOLDER --plot stats.png\n"
)
@click.argument("task")
@_DATA
@_LANGS
@click.option("--plot", type=FILE, help="Also draw into this file (.png or .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def stats(task: str, folder: Path, langs: str, plot: Path | None, as_json: bool) -> None:
    """Describe the files of TASK: labels, what occurs together, lengths, overlap."""
    from semeval_kit.data.stats import describe_task
    from semeval_kit.task.task import load_task

    loaded = load_task(task)
    entries, overlaps = describe_task(loaded, folder, split_languages(langs))
    if as_json:
        shown = {"splits": [entry.to_json() for entry in entries], "overlaps": overlaps}
        print_json(shown)
    else:
        _show_stats(entries)
        _echo_section(
            "Texts that occur in both", [f"{name}: {n}" for name, n in overlaps.items() if n]
        )
    if plot:
        from semeval_kit.show.figures.data import plot_data_stats

        path = plot_data_stats(entries, overlaps, plot, loaded.title)
        click.echo(f"Drawn: {path}", err=True)


def split_languages(langs: str) -> tuple[str, ...] | None:
    """Return the codes of a comma-separated list, or None for `all`."""
    codes = split_words(langs)
    return None if codes in ((), ("all",)) else codes


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="\b\nExample:\n  semeval-kit demo\n  semeval-kit demo --model roberta-base --epochs 5\n",
)
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


def _show_fetched(done: Fetched) -> None:
    rows = [("file", "rows", "labels above 0", "sha256", "")]
    for file in done.files:
        labels = " ".join(f"{label} {count}" for label, count in file.labels.items())
        state = "kept" if file.path in done.kept else "new"
        rows.append((file.path, str(file.rows), labels or "blank", file.sha256[:12], state))
    click.echo("\n".join(align_rows(rows, right=[1])))
    _echo_section("Missing", done.missing)
    click.echo(
        f"\n{count_noun(len(done.files), 'file')} in {done.folder}; see "
        f"{done.folder / 'manifest.json'}"
    )


def _show_table(task: Task, files: Sequence[FileReport]) -> None:
    """One line per file; positives in the order of the labels named above."""
    labels = [name for target in task.main_targets for name in target.label_names]
    click.echo(f"{task.name}: positives in the order {' / '.join(labels)}")
    titles = ("split", "language", "rows", "labels", "positives", "notes", "warnings", "errors")
    rows: list[tuple[str, ...]] = [titles]
    for file in files:
        counts = [str(file.positives.get(label, "-")) for label in labels]
        counts_of_findings = (len(file.notes), len(file.warnings), len(file.errors))
        rows.append(
            (
                file.split,
                file.language,
                str(file.n_rows),
                str(file.n_labels) if file.n_labels else "blank",
                " / ".join(counts) if file.positives else "",
                *(str(n) if n else "" for n in counts_of_findings),
            )
        )
    click.echo("\n".join(align_rows(rows, right=[2, 3, 5, 6, 7])) + "\n")


def _show_findings(report: CheckReport, verbose: bool) -> None:
    errors = [
        line if line.startswith(file.path) else f"{file.path}: {line}"
        for file in report.files
        for line in file.errors
    ]
    warnings = [f"{file.path}: {line}" for file in report.files for line in file.warnings]
    notes = defaultdict(list)
    for file in report.files:
        for note in file.notes:
            notes[note].append(f"{file.split}/{file.language}")
    _echo_section("Accepted", [f"{note} ({_name_some(files)})" for note, files in notes.items()])
    _echo_section("Files that belong to no language", report.strays)
    _echo_section("Missing", report.missing)
    _echo_section("Groups", report.groups)
    _echo_section("Warnings", warnings)
    overlaps = []
    for overlap in sorted(report.overlaps, key=lambda overlap: -len(overlap.pairs)):
        overlaps.append(overlap.describe())
        if verbose:
            overlaps += [f"  {other} = {one}" for one, other in overlap.pairs]
    _echo_section("Overlaps: train or dev texts among texts that should be new", overlaps)
    _echo_section("Errors", [*report.errors, *errors])
    click.echo(
        f"{count_noun(len(report.files), 'file')}, "
        f"{count_noun(sum(file.n_rows for file in report.files), 'row')}: "
        f"{count_noun(report.n_errors, 'error')}, {count_noun(report.n_warnings, 'warning')}"
    )


def _show_cuts(
    tasks: Sequence[Task], folder: Path, report: CheckReport, model: str, max_length: int | None
) -> None:
    """What an encoder does not get to read of the rows of each sound file."""
    from semeval_kit.data.examples import read_split
    from semeval_kit.training.encoder import load_tokenizer
    from semeval_kit.training.recipe import load_recipe
    from semeval_kit.training.tokens import count_cut_rows

    given = {"encoder": model, **({"max_length": max_length} if max_length else {})}
    recipes = {task.name: load_recipe(name_recipe(task), given) for task in tasks}
    tokenizer = load_tokenizer(recipes[tasks[0].name])
    by_name, lines = {task.name: task for task in tasks}, []
    for file in report.files:
        if file.errors or file.split == "gold":
            continue
        task = by_name[file.task]
        rows = read_split(task, folder, file.split, file.language, labelled=False)
        recipe = recipes[file.task]
        apart = recipe.pairs == "apart"
        cut = count_cut_rows(tokenizer, rows, recipe.max_length, apart=apart)
        lines.append(f"{file.split}/{file.language}: {cut.describe()}")
    _echo_section(f"Tokens of {model}", lines)


def _show_stats(entries: Sequence[SplitStats]) -> None:
    rows = [("language", "split", "rows", "neutral", "labels/row", "words", "characters")]
    for entry in entries:
        rows.append(
            (
                entry.language,
                entry.split,
                str(entry.n_rows),
                str(entry.n_neutral) if entry.labels else "-",
                f"{entry.mean_labels:.2f}" if entry.labels else "-",
                _show_lengths(entry.words.quantiles),
                _show_lengths(entry.characters.quantiles),
            )
        )
    click.echo("Lengths: median (5% to 95%)")
    click.echo("\n".join(align_rows(rows, right=[2, 3, 4])))
    for entry in entries:
        if entry.labels:
            click.echo(f"\n{entry.language} {entry.split}: rows with both labels (diagonal: one)")
            click.echo("\n".join(_cooccurrence_lines(entry)))
        if entry.numbers:
            click.echo(f"\n{entry.language} {entry.split}: numbers")
            click.echo("\n".join(_number_lines(entry)))
    click.echo("")


def _number_lines(entry: SplitStats) -> list[str]:
    rows: list[Sequence[str]] = [("", "least", "5%", "median", "95%", "most", "mean")]
    for name, spread in entry.numbers.items():
        rows.append((name, *(f"{value:.3g}" for value in (*spread.quantiles, spread.mean))))
    return align_rows(rows, right=range(1, 7))


def _cooccurrence_lines(entry: SplitStats) -> list[str]:
    levels = sorted({value for counts in entry.values.values() for value in counts})
    graded = [level for level in levels if level != "0"] if len(levels) > 2 else []
    rows = [("", *entry.labels, "share", *(f"={level}" for level in graded))]
    for label, counts in zip(entry.labels, entry.cooccurrence, strict=True):
        share = entry.positives()[label] / max(1, entry.annotated[label])
        by_level = [str(entry.values[label].get(level, 0)) for level in graded]
        rows.append((label, *map(str, counts), f"{share:.1%}", *by_level))
    return align_rows(rows, right=range(1, len(rows[0])))


def _show_lengths(quantiles: Sequence[float]) -> str:
    _, low, middle, high, _ = quantiles
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


def _echo_section(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(f"{title}:")
        click.echo("\n".join(f"  {line}" for line in lines) + "\n")


def _name_some(files: Sequence[str]) -> str:
    counted = list(Counter(files))
    shown = ", ".join(counted[:MAX_NAMED_FILES])
    more = len(counted) - MAX_NAMED_FILES
    return f"{shown} and {count_noun(more, 'more file')}" if more > 0 else shown
