"""Commands for task files: list them, look at one, check it, begin a new one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from semeval_kit.task.task import Task

TASKS_EXAMPLE = (
    "\b\nExample:\n"
    "  semeval-kit tasks\n"
    "  semeval-kit tasks semeval2025-task11-a\n"
    "  semeval-kit tasks new semeval2027-task5.toml\n"
    "  semeval-kit tasks semeval2027-task5.toml --check\n"
)
SHOW_EXAMPLE = "\b\nExample:\n  semeval-kit tasks show semeval2025-task11-a --check\n"
NEW_EXAMPLE = "\b\nExample:\n  semeval-kit tasks new semeval2027-task5.toml\n"
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


@click.group(cls=TaskGroup, invoke_without_command=True, epilog=TASKS_EXAMPLE)
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
        click.echo(json.dumps([_summarise(task) for task in loaded], indent=2))
        return
    for task in loaded:
        click.echo(f"{task.name}\n    {task.title}")
        click.echo(f"    {task.kind}, {' and '.join(task.scoring.metrics[:2])}; {_languages(task)}")
        click.echo(f"    {task.url or 'no competition'}")


@tasks.command(epilog=SHOW_EXAMPLE)
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


@tasks.command(epilog=NEW_EXAMPLE)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def new(path: Path) -> None:
    """Write a commented task file to PATH, to be filled in. It passes the check as it is."""
    from semeval_kit.task.check import write_template

    write_template(path)
    click.echo(f"Written: {path}")
    click.echo("Look at the lines marked TODO, then:")
    click.echo(f"  semeval-kit tasks {path} --check")
    click.echo(f"  semeval-kit data check {path} --data FOLDER")


def _show_findings(name: str) -> int:
    """Print what a check finds; return the number of errors."""
    from semeval_kit.errors import KitError
    from semeval_kit.task.check import find_warnings
    from semeval_kit.task.task import load_task

    errors: list[str] = []
    warnings: list[str] = []
    try:
        warnings = list(find_warnings(load_task(name)))
    except KitError as error:
        errors = error.message.splitlines()
    click.echo(f"{name}: {len(errors)} errors, {len(warnings)} warnings")
    for line in errors:
        click.echo(f"  error: {line}")
    for line in warnings:
        click.echo(f"  warning: {line}")
    return len(errors)


def _show_task(task: Task) -> None:
    files, submission = task.data.files, task.submission
    zip_name = f" in {submission.zip_name}" if submission.zip_name else ""
    rows = [
        ("title", task.title),
        ("kind", task.kind + (f", 0 to {task.max_intensity}" if task.kind == "intensity" else "")),
        ("competition", task.url or "none"),
        ("labels", ", ".join(task.labels.default)),
        *((f"  {code}", ", ".join(labels)) for code, labels in task.labels.by_language.items()),
        ("train on", " ".join(task.train_languages)),
        ("predict", " ".join(task.predict_languages)),
        ("cross-lingual", "yes: no row of a predicted language may be seen")
        if task.cross_lingual
        else ("", ""),
        ("train files", " or ".join(files.train)),
        ("dev files", " or ".join(files.dev) or "none"),
        ("test files", " or ".join(files.test)),
        ("gold files", " or ".join(files.gold) or "none"),
        ("in the zip", submission.member + zip_name),
        ("uploads", _describe_uploads(task)),
        ("metrics", ", ".join(task.scoring.metrics) + f" (rules: {task.scoring.rules})"),
        ("average over", f"{len(task.scoring.languages)} languages; {_describe_missing(task)}"),
        ("hub", task.hub.repo if task.hub else "none"),
        ("published", "; ".join(dict.fromkeys(b.system for b in task.baselines)) or "none"),
    ]
    click.echo(task.name)
    for key, value in rows:
        if key:
            click.echo(f"  {key:<14}{value}")
    if task.notes:
        click.echo(f"\n{task.notes.strip()}")


def _summarise(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "title": task.title,
        "kind": task.kind,
        "languages": list(task.predict_languages),
        "metrics": list(task.scoring.metrics),
        "url": task.url,
    }


def _languages(task: Task) -> str:
    codes = task.predict_languages
    more = f" and {len(codes) - MAX_CODES} more" if len(codes) > MAX_CODES else ""
    noun = "language" if len(codes) == 1 else "languages"
    return f"{len(codes)} {noun}: {' '.join(codes[:MAX_CODES])}{more}"


def _describe_uploads(task: Task) -> str:
    day, total = task.submission.uploads_per_day, task.submission.uploads_total
    parts = [f"{day} a day"] if day else []
    parts += [f"{total} in total"] if total else []
    return ", ".join(parts) or "limit not known"


def _describe_missing(task: Task) -> str:
    zero = task.scoring.missing_languages == "zero"
    return "one that is left out counts 0" if zero else "one that is left out does not count"
