"""The report: one page about a run that loads nothing from elsewhere and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semeval_kit import __version__
from semeval_kit.decision.rule import Thresholds
from semeval_kit.decision.verdict import name_constant
from semeval_kit.files import sha256_file, write_atomic
from semeval_kit.plurals import count_noun
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import read_rule
from semeval_kit.show.compare import find_before, tabulate_before
from semeval_kit.show.figures.charts import embed_figure
from semeval_kit.show.figures.pictures import draw_figures, read_all_answers
from semeval_kit.show.findings import N_SHOWN, list_findings
from semeval_kit.show.mistakes import find_hardest, find_wrong
from semeval_kit.show.pages import fill_page
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.tables_of_runs import tabulate_files, tabulate_recipe
from semeval_kit.show.tables_of_scores import (
    describe_use,
    tabulate_cuts,
    tabulate_labels,
    tabulate_results,
)
from semeval_kit.show.tabulate import Table, shorten, show_interval, show_number
from semeval_kit.show.wording import describe_member

_MOST_NOTES = 8
_CROSS_ENTROPY = "Cross-entropy per target in nats"


def write_report(run: Run, before: Run | None = None) -> Path:
    """Write the page about a finished run and return its path.

    `before` is the same encoder without fine-tuning, for the radar chart; by default that inside
    the run, if there is one.

    Raises:
        KitError: a stage has not run, `before` does not fit, or jinja2 or matplotlib is missing.
    """
    write_atomic(run.report_file, render_report(run, before))
    return Path(run.report_file)


def render_report(run: Run, before: Run | None = None) -> str:
    """The page about a finished run as HTML: the same bytes for the same run.

    Raises:
        KitError: as for `write_report`.
    """
    answers = read_all_answers(run)
    results = read_results(run, answers=answers)
    thresholds = read_rule(run)
    oof = answers["oof"]
    train = run.read_train()
    before = before or find_before(run)
    tables = list_tables(results, thresholds)
    if before is not None and oof is not None:
        tables.append(tabulate_before(run, oof, before))
    pictures = [
        {"picture": picture, "image": embed_figure(picture.figure, picture.name)}
        for picture in draw_figures(run, train, answers, before)
    ]
    return fill_page(
        "report",
        "report.css",
        name=run.name,
        task=run.task.title,
        summary=_summarize(run, results),
        tiles=list_tiles(results),
        alarms=results.alarms,
        learnt=results.learnt,
        findings=list_findings(run, results, oof)[:N_SHOWN] if oof else (),
        notes=results.estimate.get("notes", ()),
        zip=_describe_zip(run),
        most=_MOST_NOTES,
        tables={table.group: table for table in tables},
        # In halves beside the machine, so that the three columns are about as long.
        recipe=[
            half for t in tables if t.key == "recipe" for half in t.pages(-(-len(t.rows) // 2))
        ],
        warnings=thresholds.warnings,
        pictures=pictures,
        target=results.target if results.estimate.get("targets") else "",
        answers_name=results.wording.answer.capitalize() + "s",
        loss_name="Mean squared error" if results.wording.numeric else _CROSS_ENTROPY,
        hardest=find_hardest(results.task, oof) if oof else (),
        wrong=find_wrong(results.task, oof) if oof else (),
        shorten=shorten,
        readings=_show_notes(run, train.notes),
        version=__version__,
    )


def list_tables(results: RunResults, thresholds: Thresholds) -> list[Table]:
    """The tables that have rows."""
    tables = (
        *tabulate_results(results),
        tabulate_labels(results, ("oof", "dev", "test"), thresholds),
        tabulate_cuts(results, thresholds),
        tabulate_recipe(results),
        tabulate_files(results),
    )
    return [table for table in tables if table.rows]


def list_tiles(results: RunResults) -> list[dict[str, str]]:
    """The headline figures, the one to believe first."""
    metric, fitted = results.metric_name, results.reading("cross_fitted")
    is_foretold = results.estimate.get("expected") is not None
    tiles = [_tile_upload(results)] if is_foretold else []
    if fitted:
        rule = "cross-fitted " if results.wording.tuned else ""
        n_examples = results.estimate.get("n_examples", 0)
        detail = f"{rule}on {count_noun(n_examples, 'out-of-fold example')}"
        if not set(results.settings["languages"]) <= set(results.settings["train_languages"]):
            detail += "; of the languages learnt from, which are not all those predicted"
        title = f"Out of fold {metric}" if is_foretold else f"Expected {metric} on new texts"
        tiles.append(_tile(title, fitted, detail, kind="" if is_foretold else "main"))
    if results.wording.tuned and results.reading("at_half"):
        gain = results.estimate.get("gain") or (None, None, None)
        detail = "" if gain[0] is None else f"tuning gains {gain[0]:+.4f} {show_interval(gain[1:])}"
        tiles.append(_tile("At threshold 0.5", results.reading("at_half"), detail))
        detail = "scored on the rows that chose the thresholds"
        tile = _tile("Tuned in-sample", results.reading("tuned_in_sample"), detail, "doubtful")
        tiles.append({**tile, "mark": "optimistic"})
    for split in ("dev", "test"):
        score = results.split_score(split)
        if score is not None and score.score == score.score:
            low, high = score.interval or (None, None)
            detail = count_noun(score.n_examples, "example")
            if len(results.folds) > 1:
                detail += f", mean of the folds' {results.wording.outputs}"
            if split in results.constants:
                detail += f"; {name_constant(results.task.kind)}: {results.constants[split]:.4f}"
            if use := describe_use(results, split):
                detail += f"; {use}"
            reading = {"score": score.score, "low": low, "high": high}
            tiles.append(_tile(f"{split.capitalize()} {metric}", reading, detail))
    return tiles


def _tile_upload(results: RunResults) -> dict[str, str]:
    """What the upload is foretold to score, or why nothing is."""
    title, foretold = f"Expected {results.metric_name} of the upload", results.estimate["expected"]
    if not results.expected:
        return _tile(title, {}, f"not foretold: {foretold['withheld']}", kind="doubtful")
    n_models, gain = foretold["n_models"], foretold["gain"]
    gained = f"{gain:+.4f} by averaging" if foretold["n_rows"] else "what it gains unknown"
    if set(foretold.get("at_chance") or ()) >= set(foretold["languages"] or ("",)):
        gained = "no gain foretold: no better than chance"
    detail = f"mean of {n_models} models, {gained}" if n_models > 1 else ""
    return _tile(title, results.expected, detail, kind="main")


def _describe_zip(run: Run) -> dict[str, str]:
    """Where the zip lies, and how to know it again."""
    if not run.zip_file.is_file():
        return {}
    return {
        "path": f"submissions/{run.name}/{run.zip_file.name}",
        "size": f"{run.zip_file.stat().st_size}",
        "sha256": sha256_file(run.zip_file),
    }


def _summarize(run: Run, results: RunResults) -> str:
    languages = list(run.languages)
    shown = ", ".join(languages[:8]) + (f" and {len(languages) - 8} more" if languages[8:] else "")
    learnt = [code for code in run.settings["train_languages"] if code not in languages]
    parts = [
        f"{'languages' if len(languages) > 1 else 'language'} {shown}",
        describe_member(results.member, results.encoder, tuple(run.settings.get("members", ()))),
        run.scheme,
        run.seeds,
        str(run.settings.get("created", ""))[:10],
    ]
    if learnt:
        parts.insert(1, f"learnt from {', '.join(learnt[:8])}{' …' if learnt[8:] else ''}")
    return " · ".join(part for part in parts if part)


def _tile(title: str, reading: Mapping[str, Any], detail: str, kind: str = "") -> dict[str, str]:
    interval = show_interval((reading.get("low"), reading.get("high")))
    parts = (f"95% interval {interval}" if interval else "", detail)
    return {
        "title": title,
        "value": show_number(reading.get("score")) or "–",
        "detail": "; ".join(part for part in parts if part),
        "kind": kind,
        "mark": "",
    }


def _show_notes(run: Run, notes: Sequence[str]) -> list[str]:
    """What was noticed while reading; without this machine's folders, as the page is mailed."""
    folder = run.data
    prefixes = [f"{path}/" for path in (folder, folder.resolve())]
    shown = []
    for note in dict.fromkeys(notes):
        for prefix in prefixes:
            note = note.replace(prefix, "")
        shown.append(note)
    return shown
