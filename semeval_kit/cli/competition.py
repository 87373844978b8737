"""Commands of the competition: check and score any submission as the organisers would."""

from __future__ import annotations

import json
from pathlib import Path

import click

VALIDATE_EXAMPLE = """\b
Example:
  semeval-kit validate my.zip --task semeval2025-task11-a --data FOLDER
"""
SCORE_EXAMPLE = """\b
Example:
  semeval-kit score my.zip --task semeval2025-task11-a --gold GOLD_FOLDER
"""


@click.command(epilog=VALIDATE_EXAMPLE)
@click.argument("submission", type=click.Path(path_type=Path))
@click.option("--task", "task_name", required=True, help="Name of a task, or a path to its .toml.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder with the organisers' test files."
)
@click.option(
    "--gold", type=click.Path(path_type=Path), help="Gold labels, in place of the test files."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate(
    submission: Path, task_name: str, data: Path | None, gold: Path | None, as_json: bool
) -> None:
    """Check SUBMISSION, a zip or a folder, as the organisers' scorer would, and more strictly.

    Ids and header come from the test files in --data (or from --gold); without either, ids are not
    checked. Exits with 1 if there is an error.
    """
    from semeval_kit.submission.validate import validate_submission
    from semeval_kit.task.task import load_task

    task = load_task(task_name)
    result = validate_submission(task, submission, gold or data, data=data)
    if as_json:
        answer = {
            "ok": result.ok,
            "errors": [vars(finding) for finding in result.findings],
            "warnings": result.warnings,
            "infos": result.infos,
        }
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        for text in result.errors:
            click.echo(f"error: {text}")
        for text in result.warnings:
            click.echo(f"warning: {text}")
        for text in result.infos:
            click.echo(f"ok: {text}")
        count = len(result.errors)
        click.echo("valid" if result.ok else f"not valid: {count} error{'s' * (count != 1)}")
    if not result.ok:
        raise SystemExit(1)


@click.command(epilog=SCORE_EXAMPLE)
@click.argument("submission", type=click.Path(path_type=Path))
@click.option("--task", "task_name", required=True, help="Name of a task, or a path to its .toml.")
@click.option(
    "--gold",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of gold labels (<language>.csv, or the layout of the test files), or one file.",
)
@click.option(
    "--rules",
    type=click.Choice(["2026", "2025", "generic"]),
    help="Whose rules count; default: the task's own.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(submission: Path, task_name: str, gold: Path, rules: str | None, as_json: bool) -> None:
    """Score SUBMISSION, a zip or a folder, by the official arithmetic.

    Exits with 1 if the official program rejects the submission, and says why.
    """
    from semeval_kit.cli.score_table import describe_score
    from semeval_kit.submission.score import score_submission
    from semeval_kit.task.task import load_task

    task = load_task(task_name)
    result = score_submission(task, submission, gold, rules)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(describe_score(task, result)))
    if not result.accepted:
        raise SystemExit(1)
