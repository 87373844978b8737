"""The report: one page about a run that loads nothing from elsewhere and runs no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from semeval_kit import __version__
from semeval_kit.decision.rule import Thresholds
from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run, read_json, write_atomic
from semeval_kit.show.answers import Answers
from semeval_kit.show.before_after import find_before, tabulate_before
from semeval_kit.show.comparison_tables import measure_title
from semeval_kit.show.figures.figures import draw_figures, read_all_answers
from semeval_kit.show.figures.palette import embed_figure
from semeval_kit.show.markup import shorten
from semeval_kit.show.mistakes import find_hardest, find_wrong
from semeval_kit.show.report_tables import OWN, list_tables
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.tables import show_interval, show_number

_TEXT_LENGTH = 500
_MOST_NOTES = 8


def write_report(run: Run, before: Run | None = None) -> Path:
    """Write the page about a finished run and return its path.

    Args:
        run: with all folds done and thresholds tuned.
        before: the same encoder without fine-tuning, for the radar chart; None: that inside the
            run, if there is one.

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
    environment = _make_environment()
    answers = read_all_answers(run)
    results = read_results(run, answers=answers)
    thresholds = Thresholds.from_json(read_json(run.thresholds_file))
    oof = answers["oof"]
    train = run.read_train()
    before = before or find_before(run)
    tables = list_tables(results, thresholds)
    if before is not None and oof is not None:
        tables["before"] = tabulate_before(run, oof, before)
    pictures = [
        {"picture": picture, "image": embed_figure(picture.figure, picture.name)}
        for picture in draw_figures(run, train, answers, before)
    ]
    style = _read("colours.css") + _read("report.css")
    page: str = environment.from_string(_read("report.html.j2")).render(
        name=run.name,
        task=run.task.title,
        summary=_summarize(run, results),
        tiles=list_tiles(results),
        notes=results.estimate.get("notes", ()),
        own=OWN,
        most=_MOST_NOTES,
        tables=tables,
        warnings=thresholds.warnings,
        pictures=pictures,
        hardest=_show_hardest(run, oof),
        wrong=_show_wrong(run, oof),
        readings=_show_notes(run, train.notes),
        version=__version__,
        style=_trust(style),
        style_hash=_hash(style),
    )
    return page


def list_tiles(results: RunResults) -> list[dict[str, str]]:
    """The headline figures, the one to believe first."""
    metric = measure_title(results.metric, results.task.kind)
    readings = {
        name: results.reading(name) for name in ("cross_fitted", "at_half", "tuned_in_sample")
    }
    tiles = []
    if readings["cross_fitted"]:
        fitted = "" if results.task.kind == "singlelabel" else "cross-fitted "
        detail = f"{fitted}on {results.estimate.get('n_examples', 0)} out-of-fold examples"
        if not set(results.settings["languages"]) <= set(results.settings["train_languages"]):
            detail += "; of the languages learnt from, which are not all those predicted"
        title = f"Expected {metric} on new texts"
        tiles.append(_tile(title, readings["cross_fitted"], detail, kind="main"))
    if results.task.kind != "singlelabel" and readings["at_half"]:
        gain = results.estimate.get("gain") or (None, None, None)
        detail = (
            "" if gain[0] is None else f"tuning gains {gain[0]:+.4f} {show_interval(*gain[1:])}"
        )
        tiles.append(_tile("At threshold 0.5", readings["at_half"], detail))
        tiles.append(
            _tile(
                "Tuned in-sample",
                readings["tuned_in_sample"],
                "scored on the rows that chose the thresholds",
                kind="doubtful",
                mark="optimistic",
            )
        )
    for split in ("dev", "test"):
        score = results.split_score(split)
        if score is not None:
            low, high = score.interval or (None, None)
            detail = f"{score.n_examples} examples, mean of the folds' probabilities"
            if split in results.settings.get("train_splits", ()):
                detail += "; the models were trained on them"
            reading = {"score": score.score, "low": low, "high": high}
            tiles.append(_tile(f"{split.capitalize()} {metric}", reading, detail))
    return tiles


def _summarize(run: Run, results: RunResults) -> str:
    languages = list(run.languages)
    shown = ", ".join(languages[:8]) + (f" and {len(languages) - 8} more" if languages[8:] else "")
    learnt = [code for code in run.settings["train_languages"] if code not in languages]
    parts = [
        f"{'languages' if len(languages) > 1 else 'language'} {shown}",
        f"encoder {results.encoder}",
        f"{run.n_folds} folds" if run.n_folds > 1 else "hold-out",
        f"seed {run.recipe['seed']}",
        str(run.settings.get("created", ""))[:10],
    ]
    if learnt:
        parts.insert(1, f"learnt from {', '.join(learnt[:8])}{' …' if learnt[8:] else ''}")
    return " · ".join(part for part in parts if part)


def _tile(
    title: str, reading: Mapping[str, Any], detail: str, kind: str = "", mark: str = ""
) -> dict[str, str]:
    interval = show_interval(reading.get("low"), reading.get("high"))
    parts = (f"95% interval {interval}" if interval else "", detail)
    return {
        "title": title,
        "value": show_number(reading.get("score")) or "–",
        "detail": "; ".join(part for part in parts if part),
        "kind": kind,
        "mark": mark,
    }


def _show_hardest(run: Run, oof: Answers | None) -> list[dict[str, str]]:
    return [
        {
            "text": shorten(example.text, _TEXT_LENGTH),
            "gold": example.gold,
            "pred": example.pred,
            "loss": f"{example.loss:.2f}",
            "where": f"{example.language} · {example.id}",
        }
        for example in (find_hardest(run.task, oof) if oof is not None else ())
    ]


def _show_wrong(run: Run, oof: Answers | None) -> list[dict[str, str]]:
    return [
        {
            "text": shorten(example.text, _TEXT_LENGTH),
            "target": example.target,
            "prob": f"{example.prob:.3f}",
            "gold": "yes" if example.is_gold else "no",
            "where": f"{example.language} · {example.id}",
        }
        for example in (find_wrong(run.task, oof) if oof is not None else ())
    ]


def _show_notes(run: Run, notes: Sequence[str]) -> list[str]:
    """What was noticed while reading; without this machine's folders, as the page is mailed."""
    folder = Path(run.settings["data"])
    prefixes = [f"{path}/" for path in (folder, folder.resolve())]
    shown = []
    for note in dict.fromkeys(notes):
        for prefix in prefixes:
            note = note.replace(prefix, "")
        shown.append(note)
    return shown


def _make_environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise KitError(
            "The report needs jinja2. Install it with: pip install 'semeval-kit[analysis]'"
        ) from error
    return jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _trust(text: str) -> Any:
    """Mark what this module made itself, so that it is not escaped again."""
    import markupsafe

    return markupsafe.Markup(text)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _read(name: str) -> str:
    folder = resources.files("semeval_kit.show") / "templates"
    return (folder / name).read_text(encoding="utf-8")
