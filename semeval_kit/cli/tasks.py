"""`tasks` and `recipes`: the task files and recipes that there are, and new ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semeval_kit.cli.options import FILE, WordsOption, print_json
from semeval_kit.plurals import count_noun

if TYPE_CHECKING:
    from semeval_kit.task.schema import Target
    from semeval_kit.task.task import Task


KINDS = {
    "multilabel": "macro_f1",
    "singlelabel": "macro_f1",
    "intensity": "pearson_r",
    "regression": "spearman",
    "distribution": "jensen_shannon",
}
"""Kind of a target -> the metric that a new file begins with."""
MAX_CODES = 12


class TaskGroup(click.Group):
    """Reads `tasks NAME` as `tasks show NAME`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `show` in front of a first word that is no command."""
        words = [place for place, word in enumerate(args) if not word.startswith("-")]
        if words and args[words[0]] not in self.commands:
            # Options of `show` may stand before the name, so all of it goes to `show`.
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=TaskGroup,
    invoke_without_command=True,
    epilog="\b\nExample:\n"
    "  semeval-kit tasks\n"
    "  semeval-kit tasks semeval2025-task11-a\n"
    "  semeval-kit tasks new semeval2027-task5.toml\n"
    "  semeval-kit tasks semeval2027-task5.toml --check\n",
)
@click.option("--check", is_flag=True, help="Check the files of all tasks.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def tasks(context: click.Context, check: bool, as_json: bool) -> None:
    """List the tasks, or look at one: tasks NAME [--check].

    NAME is one of the list, or the path of a task file of your own (ending in .toml).
    """
    if context.invoked_subcommand is not None:
        return
    from semeval_kit.task.task import list_tasks, load_task

    if check:
        n_errors = [_show_findings(name) for name in list_tasks()]
        context.exit(1 if any(n_errors) else 0)
    loaded = [load_task(name) for name in list_tasks()]
    if as_json:
        print_json([_summarise(task) for task in loaded])
        return
    for task in loaded:
        click.echo(f"{task.name}\n    {task.title}")
        kinds = " and ".join(dict.fromkeys(target.kind for target in task.main_targets))
        click.echo(f"    {kinds}, {' and '.join(task.scoring.metrics[:2])}; {_languages(task)}")
        click.echo(f"    {task.url or 'no address'}")


@tasks.command(epilog="\b\nExample:\n  semeval-kit tasks show semeval2025-task11-a --check\n")
@click.argument("name")
@click.option("--check", is_flag=True, help="Check the file; exit with 1 if it has an error.")
@click.option("--json", "as_json", is_flag=True, help="Print the task as JSON.")
@click.pass_context
def show(context: click.Context, name: str, check: bool, as_json: bool) -> None:
    """Show one task, or check its file."""
    from semeval_kit.task.task import load_task

    if check:
        context.exit(1 if _show_findings(name) else 0)
    task = load_task(name)
    if as_json:
        click.echo(task.model_dump_json(indent=2))
    else:
        _show_task(task)


@tasks.command(
    epilog="\b\nExample:\n"
    "  semeval-kit tasks new semeval2027-task5.toml\n"
    "  semeval-kit tasks new relatedness.toml --kind regression --range 0,1 --labels Score \\\n"
    "    --id PairID --text sentence1 --pair sentence2 --metric spearman\n"
)
@click.argument("path", type=FILE)
@click.option("--kind", type=click.Choice(list(KINDS)), help="What is predicted.")
@click.option("--labels", cls=WordsOption, help="Names of the labels or numbers, joined by commas.")
@click.option("--range", "limits", help="Least and largest number of a regression, as 0,1.")
@click.option("--langs", cls=WordsOption, help="Language codes, joined by commas.")
@click.option("--id", "id_column", help="Column of the id.")
@click.option("--text", help="Column of the text, or a template such as '{title}: {body}'.")
@click.option("--pair", help="Column or template of the second text.")
@click.option("--context", help="Column or template of what is cut before the text.")
@click.option("--group", help="Column whose equal values stay in one fold.")
@click.option("--label-column", help="Column that names the label.")
@click.option("--delimiter", help="What separates the cells, in the zip too; 'tab' for TSV.")
@click.option("--train", help="Pattern of the train files, with {lang} for the code.")
@click.option("--dev", help="Pattern of the dev files.")
@click.option("--test", help="Pattern of the test files.")
@click.option("--member", help="Path of the predictions in the zip.")
@click.option("--metric", help="What ranks.")
def new(path: Path, **given: str | None) -> None:
    """Write a commented task file to PATH, to be filled in. It passes the check as it is.

    What the options say of its shape stands in it already; they are keys of the file, too.
    """
    from semeval_kit.task.task import write_template

    write_template(path, _find_shape({key: said for key, said in given.items() if said}))
    click.echo(f"Written: {path}")
    click.echo("Look at the lines marked TODO, then:")
    click.echo(f"  semeval-kit tasks {path} --check")
    click.echo(f"  semeval-kit data check {path} --data FOLDER")


@click.command(epilog="Example:  semeval-kit recipes bert-report")
@click.argument("name", required=False)
@click.option("--fields", is_flag=True, help="Explain every field with its default.")
def recipes(name: str | None, fields: bool) -> None:
    """List the recipes, or show one with every field."""
    from semeval_kit.training.recipe import (
        Recipe,
        list_recipes,
        load_comparison,
        load_members,
        load_recipe,
    )

    if fields:
        for field, info in Recipe.model_fields.items():
            default = "(not set)" if info.default is None else repr(info.default)
            click.echo(f"{field} = {default}  # {info.description}")
        click.echo("sweep = []  # in a file only: what `sweep` trains if no encoder is named")
        click.echo("before = false  # in a file or by --before: measure the encoder untrained, too")
    elif name and (members := load_members(name)):
        for member in members:
            told = (f"{field} = {v!r}" for field, v in member if v is not None)
            click.echo("\n".join(["[[members]]", *told]))
    elif name:
        for field, value in load_recipe(name).model_dump().items():
            click.echo(f"{field} = {'(not set)' if value is None else repr(value)}")
        compared = load_comparison(name)
        click.echo(f"sweep = {list(compared.encoders)!r}")
        click.echo(f"before = {str(compared.before).lower()}")
    else:
        for recipe in list_recipes():
            click.echo(recipe)


def _find_shape(given: dict[str, str]) -> dict[str, Any]:
    """Keys of a task file from the options of `new`."""
    kind = given.get("kind", "multilabel")
    shape: dict[str, Any] = {"kind": kind} if "kind" in given else {}
    if "kind" in given or "metric" in given:
        shape["scoring.metrics"] = [given.get("metric", KINDS[kind])]
    if kind == "singlelabel":
        shape |= {"data.label_layout": "name", "submission.label_layout": "name"}
    if kind == "regression":
        limits = given.get("limits", "0,1").split(",")
        shape["range"] = [float(limit) for limit in limits]
    if "langs" in given:
        codes = [code.strip() for code in given["langs"].split(",")]
        shape |= dict.fromkeys(("train_languages", "predict_languages"), codes)
        shape["scoring.languages"] = codes
    if "labels" in given:
        shape["labels.default"] = [label.strip() for label in given["labels"].split(",")]
    if "text" in given:
        template = "{" in given["text"]
        shape |= (
            {"data.text": given["text"]} if template else {"data.text_columns": [given["text"]]}
        )
    if "id_column" in given:
        shape |= dict.fromkeys(("data.id_column", "submission.id_column"), given["id_column"])
    if "delimiter" in given:
        mark = {"tab": "\t"}.get(given["delimiter"], given["delimiter"])
        shape["data.delimiter"] = mark
        if not given.get("member", "").endswith(".csv"):
            shape["submission.delimiter"] = mark
    for option in ("train", "dev", "test"):
        shape |= {f"data.files.{option}": [given[option]]} if option in given else {}
    for option, key in (
        ("pair", "data.pair"),
        ("context", "data.context"),
        ("group", "data.group_column"),
        ("label_column", "data.label_column"),
        ("member", "submission.member"),
    ):
        shape |= {key: given[option]} if option in given else {}
    return shape


def _show_findings(name: str) -> int:
    """Print what a check finds; return the number of errors."""
    from semeval_kit.errors import KitError
    from semeval_kit.task.check import find_warnings
    from semeval_kit.task.task import load_task, read_task_source

    errors: list[str] = []
    warnings: list[str] = []
    try:
        warnings = list(find_warnings(load_task(name), read_task_source(name)[1]))
    except KitError as error:
        errors = error.message.splitlines()
    counts = f"{count_noun(len(errors), 'error')}, {count_noun(len(warnings), 'warning')}"
    click.echo(f"{name}: {counts}")
    for line in errors:
        click.echo(f"  error: {line}")
    for line in warnings:
        click.echo(f"  warning: {line}")
    return len(errors)


def _show_task(task: Task) -> None:
    data, files, submission = task.data, task.data.files, task.submission
    cut = f"what follows {data.pair_separator!r}" if data.pair_separator else ""
    counts = "counts 0" if task.scoring.missing_languages == "zero" else "does not count"
    missing = f"one that is left out {counts}"
    zip_name = f" in {submission.zip_name}" if submission.zip_name else ""
    rows = [
        ("title", task.title),
        ("competition", task.url or "none"),
        *(row for target in task.targets for row in _describe_target(target)),
        *((f"  {code}", ", ".join(labels)) for code, labels in task.labels.by_language.items()),
        ("text", data.text or data.text_joiner.join(data.text_columns)),
        ("second text", data.pair or cut),
        ("context", data.context),
        ("group", data.group_column or data.group_pattern),
        ("train on", " ".join(task.train_languages)),
        ("predict", " ".join(task.predict_languages)),
        ("cross-lingual", "yes: no row of a predicted language may be seen" * task.cross_lingual),
        ("train files", " or ".join(files.train)),
        ("dev files", " or ".join(files.dev) or "none"),
        ("test files", " or ".join(files.test)),
        ("gold files", " or ".join(files.gold) or "none"),
        ("in the zip", ", ".join(layout.member for layout in submission.layouts) + zip_name),
        ("uploads", _describe_uploads(task)),
        ("metrics", ", ".join(task.scoring.metrics) + f" (rules: {task.scoring.rules})"),
        ("average over", f"{count_noun(len(task.scoring.languages), 'language')}; {missing}"),
        ("hub", task.hub.repo if task.hub else "none"),
        ("published", "; ".join(dict.fromkeys(b.system for b in task.baselines)) or "none"),
    ]
    click.echo(task.name)
    for key, value in rows:
        if value:
            click.echo(f"  {key:<14}{value}")
    if task.notes:
        click.echo(f"\n{task.notes.strip()}")


def _describe_target(target: Target) -> list[tuple[str, str]]:
    words: str = target.kind
    if target.kind == "intensity":
        words += f", 0 to {target.max_intensity}"
    elif target.range:
        words += f", {target.range[0]:g} to {target.range[1]:g}"
    words += ", only learnt" * target.auxiliary
    title = "kind" if target.name == "main" else target.name
    return [(title, words), ("labels" if title == "kind" else "  labels", ", ".join(target.labels))]


def _summarise(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "title": task.title,
        "kind": task.kind,
        "targets": {target.name: target.kind for target in task.targets},
        "languages": list(task.predict_languages),
        "metrics": list(task.scoring.metrics),
        "url": task.url,
    }


def _languages(task: Task) -> str:
    codes = task.predict_languages
    more = f" and {len(codes) - MAX_CODES} more" if len(codes) > MAX_CODES else ""
    return f"{count_noun(len(codes), 'language')}: {' '.join(codes[:MAX_CODES])}{more}"


def _describe_uploads(task: Task) -> str:
    day, total = task.submission.uploads_per_day, task.submission.uploads_total
    parts = [f"{day} a day"] if day else []
    parts += [f"{total} in total"] if total else []
    return ", ".join(parts) or "limit not known"
