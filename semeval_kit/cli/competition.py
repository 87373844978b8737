"""`validate`, `score` and `upload`: any submission as the organisers see it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from semeval_kit.cli.options import PLACE, THERE, open_run, print_json, run_argument, say

if TYPE_CHECKING:
    from semeval_kit.run.directory import Run
    from semeval_kit.submission.upload import Upload


@click.command(
    epilog="\b\nExample:\n  semeval-kit validate my.zip --task semeval2025-task11-a --data FOLDER\n"
)
@click.argument("submission", type=PLACE)
@click.option("--task", "task_name", required=True, help="Name of a task, or a path to its .toml.")
@click.option("--data", type=PLACE, help="Folder with the organisers' test files.")
@click.option("--gold", type=PLACE, help="Gold labels, in place of the test files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate(
    submission: Path, task_name: str, data: Path | None, gold: Path | None, as_json: bool
) -> None:
    """Check SUBMISSION, a zip or a folder, as the organisers' scorer would, and more strictly.

    Ids and header come from the test files in --data (or from --gold); without either, ids are not
    checked, and the last line says so. Exits with 1 if there is an error.
    """
    from semeval_kit.submission.validate import validate_submission
    from semeval_kit.task.task import load_task

    task = load_task(task_name)
    result = validate_submission(task, submission, gold or data, data=data)
    if as_json:
        answer = {
            "ok": result.ok,
            "ids_not_compared": result.unchecked,
            "errors": [vars(finding) for finding in result.findings],
            "warnings": result.warnings,
            "infos": result.infos,
        }
        print_json(answer)
    else:
        for text in result.errors:
            click.echo(f"error: {text}")
        for text in result.warnings:
            click.echo(f"warning: {text}")
        for text in result.infos:
            click.echo(f"ok: {text}")
        click.echo(result.verdict)
    if not result.ok:
        raise SystemExit(1)


@click.command(
    "merge-zips",
    epilog="\b\nExample:\n"
    "  semeval-kit merge-zips submissions/nn/nn.zip submissions/pv/pv.zip --to task5.zip \\\n"
    "    --task semeval2027-task5-nn --task semeval2027-task5-pv\n",
)
@click.argument("zips", nargs=-1, required=True, type=THERE)
@click.option("--to", "zip_path", required=True, type=PLACE, help="New zip.")
@click.option("--task", "task_names", multiple=True, help="Check it as this task; repeatable.")
@click.option("--data", type=PLACE, help="Folder with the organisers' test files.")
def merge_zips(
    zips: tuple[Path, ...], zip_path: Path, task_names: tuple[str, ...], data: Path | None
) -> None:
    """Put the files of ZIPS into one zip, where a competition wants several subtasks in one.

    Exits with 1 if the zip is not valid for a task that is named.
    """
    from semeval_kit.submission.pack import merge_zips as merge
    from semeval_kit.submission.validate import validate_submission
    from semeval_kit.task.task import load_task

    tasks = [load_task(name) for name in task_names]
    click.echo(f"{zip_path}: {', '.join(merge(zips, zip_path))}")
    errors = []
    for task in tasks:
        result = validate_submission(task, zip_path, data, data=data)
        errors += result.errors
        for text in (*result.errors, *result.warnings):
            say(f"{task.name}: {text}")
        click.echo(f"{task.name}: {result.verdict}")
    if errors:
        raise SystemExit(1)


@click.command(
    epilog="\b\nExample:\n"
    "  semeval-kit score my.zip --task semeval2025-task11-a --gold GOLD_FOLDER\n"
)
@click.argument("submission", type=PLACE)
@click.option("--task", "task_name", required=True, help="Name of a task, or a path to its .toml.")
@click.option(
    "--gold",
    required=True,
    type=PLACE,
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
    from semeval_kit.cli.summary import describe_score
    from semeval_kit.submission.score import score_submission
    from semeval_kit.task.task import load_task

    task = load_task(task_name)
    result = score_submission(task, submission, gold, rules)
    if as_json:
        print_json(result.to_json())
    else:
        click.echo("\n".join(describe_score(task, result)))
    if not result.accepted:
        raise SystemExit(1)


@click.command(
    epilog="\b\nExample:\n"
    "  export CODABENCH_USERNAME=... CODABENCH_PASSWORD=...\n"
    "  semeval-kit upload submissions/my-run\n"
)
@run_argument
@click.option("--phase", "phase_id", type=int, help="Id of the phase; default: the one open now.")
@click.option("--site", help="Address of the competition; default: the task file's.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="MINUTES",
    help="How long to wait for the score.",
)
@click.option("--again", is_flag=True, help="Send a zip that was sent to this phase before.")
def upload(
    run_path: Path, phase_id: int | None, site: str | None, yes: bool, wait: float, again: bool
) -> None:
    """Upload the zip of RUN to Codabench, once, and wait for the official score.

    The zip is validated first; phase, dates and what is left of the quota are shown, and you are
    asked. User name and password (or CODABENCH_TOKEN) come from the environment alone. What became
    of the upload is kept in the run's uploads.jsonl. Called again after a lost connection or a
    long queue, it asks the site and sends nothing.
    """
    from semeval_kit.submission import upload as uploads
    from semeval_kit.submission.codabench import Codabench

    run = open_run(run_path)
    content = _read_valid_zip(run)
    competition = Codabench(site or run.task.submission.site or run.task.url)
    competition.log_in()
    log = run.path / "uploads.jsonl"
    sent = None if again else uploads.find_upload(log, content, competition, phase_id)
    if sent is not None and sent.state in uploads.RESUMED:
        say(f"{sent.zip}: sent before, at {sent.time}; nothing is sent now")
        sent = uploads.resume_upload(log, sent, competition)
    else:
        phase = uploads.choose_phase(competition, phase_id)
        say(f"phase {uploads.describe_phase(phase)}")
        sent = None if again else uploads.find_upload(log, content, competition, phase.id)
        if sent is not None and sent.state == "Finished":
            say(f"{sent.zip}: was scored before, at {sent.time}; --again sends it once more")
        else:
            if not yes and phase.left != 0:
                left = "no limit" if phase.left is None else f"{phase.left} left"
                click.confirm(f"Upload {run.zip_file.name} ({left})?", abort=True)
            sent = uploads.send_zip(log, run.zip_file, content, competition, phase)
    sent = uploads.wait_for_score(log, sent, competition, minutes=wait, tell=say)
    click.echo(_describe_upload(run, sent))
    if sent.state != "Finished" or sent.rejected:
        raise SystemExit(1)


def _read_valid_zip(run: Run) -> bytes:
    from semeval_kit.errors import KitError
    from semeval_kit.submission.validate import validate_submission

    if not run.zip_file.is_file():
        raise KitError(f"{run.path}: has no zip yet. Run `semeval-kit pack {run.path}`.")
    data = run.data if Path(run.data).is_dir() else None
    validation = validate_submission(run.task, run.zip_file, data, data=data)
    for warning in validation.warnings:
        say(f"warning: {warning}")
    if not validation.ok:
        raise KitError("\n".join([f"{run.zip_file}: not uploaded.", *validation.errors]))
    return bytes(run.zip_file.read_bytes())


def _describe_upload(run: Run, sent: Upload) -> str:
    """The official score beside the estimate, or what became of the upload."""
    from semeval_kit.files import read_json
    from semeval_kit.show.tabulate import show_reading

    place = f"{sent.site}/competitions/{sent.competition}/"
    details = f" ({sent.details})" if sent.details else ""
    if sent.state in ("Failed", "Cancelled"):
        counts = "does not count" if sent.state == "Failed" else "may count"
        return (
            f"{sent.zip}: {sent.state}{details}. It {counts} against the quota; "
            f"its log is at {place}"
        )
    if sent.state != "Finished":
        return (
            f"{sent.zip}: still '{sent.state}'{details}. Nothing is lost: run the same command "
            f"later, which asks again and sends nothing, or look at {place}"
        )
    lines = [f"{sent.zip}: Finished. Official scores:"]
    lines += [f"  {name:<24} {value:.6g}" for name, value in sent.scores.items()]
    if sent.rejected:
        lines.append(
            "  Finished with 0 means that the scoring program rejected the zip (or that its scores "
            f"are hidden). See its log at {place}"
        )
    if run.estimate_file.is_file():
        estimate = read_json(run.estimate_file)
        reading = show_reading(estimate["cross_fitted"])
        lines.append(f"  estimated before: {estimate['metric']} {reading}")
    return "\n".join(lines)
