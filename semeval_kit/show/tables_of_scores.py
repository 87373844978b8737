"""The tables about a run's scores, for the report, the paper and the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray
from semeval_kit.decision.rule import Thresholds
from semeval_kit.show.results import RunResults
from semeval_kit.show.scores import Interval, SplitResult
from semeval_kit.show.tables_of_runs import tabulate_folds, tabulate_machine, tabulate_weights
from semeval_kit.show.tabulate import Table, show_interval, show_number
from semeval_kit.show.wording import SPLIT_TITLES, TUNED_RULES, name_measure

_N_BASELINES = 6
_CROSS_FITTED = "Cross-fitted: each fold by thresholds tuned on the others."


def tabulate_results(results: RunResults) -> list[Table]:
    """The tables that every page about a run may show, also those that have no rows."""
    return [
        tabulate_main(results),
        tabulate_floors(results),
        tabulate_targets(results),
        tabulate_uploads(results),
        tabulate_baselines(results),
        tabulate_languages(results),
        tabulate_measures(results),
        tabulate_official(results),
        tabulate_weights(results),
        tabulate_folds(results),
        tabulate_machine(results),
    ]


def tabulate_main(results: RunResults) -> Table:
    """The headline metric: untuned, tuned in-sample, cross-fitted, dev and test."""
    named = {
        "at_half": "out of fold, threshold 0.5",
        "tuned_in_sample": "out of fold, tuned on the same rows (optimistic)",
        "cross_fitted": "out of fold, cross-fitted thresholds",
    }
    if results.estimate.get("rule") in TUNED_RULES:
        named |= {"at_half": f"out of fold, {results.wording.untuned}"}
        named |= {"cross_fitted": "out of fold, tuned, cross-fitted"}
    elif not results.wording.tuned:
        named = {"cross_fitted": "out of fold"}
    lines: list[tuple[str, int, float, Interval]] = []
    for name, title in named.items():
        reading = results.reading(name)
        if reading:
            interval = (reading["low"], reading["high"])
            lines.append((title, results.estimate["n_examples"], reading["score"], interval))
    if results.estimate.get("expected") and results.expected:
        title = f"expected of the upload, mean of {results.expected['n_models']} models"
        interval = (results.expected["low"], results.expected["high"])
        lines.append((title, results.expected["n_rows"], results.expected["score"], interval))
    for split in ("dev", "test"):
        score = results.split_score(split)
        if score is not None and score.score == score.score:
            title = f"{split}, mean over folds" if len(results.folds) > 1 else split
            if remark := describe_use(results, split):
                title += f" ({remark})"
            lines.append((title, score.n_examples, score.score, score.interval))
    return Table(
        "main",
        f"Main results: {results.metric_name}",
        ("rows", "n", results.metric_name, "95% interval"),
        tuple(
            (title, str(n_rows), show_number(value), show_interval(interval))
            for title, n_rows, value, interval in lines
        ),
    )


def describe_use(results: RunResults, split: str) -> str:
    """What a split of known labels was used for beside scoring; empty where it was not used."""
    if split in results.learnt_splits:
        return "trained on"
    if split == results.recipe.get("holdout_split"):
        choices = [
            *(["the epoch"] if results.recipe.get("select_by") != "last" else []),
            *(["the thresholds"] if results.wording.tuned else []),
        ]
        return f"held out; chose {' and '.join(choices)}" if choices else "held out"
    return ""


def tabulate_labels(
    results: RunResults, splits: Sequence[str], thresholds: Thresholds | None = None
) -> Table:
    """One row per label, the best first: of the first split in full, of the others the score.

    `thresholds` adds the label's threshold and its untuned score, where thresholds are tuned.
    """
    first = splits[0]
    score = results.split_score(first)
    if score is None:
        return Table("labels", f"Per {results.wording.answer}", (results.wording.answer,), ())
    name = results.wording.label_score
    best_first = sorted(
        score.labels, key=lambda one: one.score, reverse=not results.wording.numeric
    )
    labels = {label.label: label for label in best_first}
    columns: dict[str, Mapping[str, str]] = {name: _show_scores(score)}
    if not results.wording.numeric:
        columns["positives"] = {label: str(result.positives) for label, result in labels.items()}
    if thresholds is not None and results.wording.tuned:
        columns["threshold"] = _show_cuts(results, thresholds)
        columns[f"{name} at 0.5"] = _show_scores(results.split_score(first, "half"))
    if thresholds is not None:
        columns |= _show_moves(thresholds)
    if any(label.precision is not None for label in score.labels):
        columns["P"] = {label: show_number(r.precision, 3) for label, r in labels.items()}
        columns["R"] = {label: show_number(r.recall, 3) for label, r in labels.items()}
    columns["95% interval"] = {label: show_interval(r.interval, 3) for label, r in labels.items()}
    columns |= {
        f"{split} {name}": _show_scores(results.split_score(split))
        for split in splits[1:]
        if results.split_score(split) is not None
    }
    notes = [_CROSS_FITTED] if first == "oof" and results.wording.tuned else []
    if "threshold" in columns and len(getattr(thresholds, "values", ())) > 1:
        notes.append("The thresholds shown are those of all languages together.")
    if thresholds is not None and thresholds.rule in TUNED_RULES:
        notes.append(TUNED_RULES[thresholds.rule])
    return Table(
        f"labels-{first}",
        f"Per {results.wording.answer}, {SPLIT_TITLES[first]}",
        (results.wording.answer, *columns),
        tuple((label, *(cells.get(label, "") for cells in columns.values())) for label in labels),
        notes=(" ".join(notes),) if notes else (),
    )


def _show_moves(thresholds: Thresholds) -> dict[str, dict[str, str]]:
    """What the rule adds to single labels, or makes of numbers: columns of cells by label."""
    moves: dict[str, Any] = {}
    if thresholds.offsets is not None:
        moves["offset"] = thresholds.offsets
    if thresholds.line is not None:
        moves |= {"slope": thresholds.line.slopes, "intercept": thresholds.line.intercepts}
    return {
        column: {
            label: show_number(value, 3)
            for label, value in zip(thresholds.target_names, values, strict=True)
        }
        for column, values in moves.items()
    }


def tabulate_languages(results: RunResults) -> Table:
    """One row per language, if there are several: the headline metric on every split."""
    columns = {
        SPLIT_TITLES[split]: rules["tuned"].languages for split, rules in results.splits.items()
    }
    if results.wording.tuned and "oof" in results.splits:
        half = results.splits["oof"]["half"].languages
        columns = {"out of fold at 0.5": half, **columns}
    languages = list(results.settings["languages"])
    return Table(
        "languages",
        f"{results.metric_name} per language",
        ("language", *columns),
        tuple(
            (language, *(show_number(values.get(language)) for values in columns.values()))
            for language in languages
        )
        if len(languages) > 1
        else (),
    )


def tabulate_cuts(results: RunResults, thresholds: Thresholds) -> Table:
    """The thresholds of every language, if there are several."""
    several = len(thresholds.values) > 1 and results.wording.tuned
    rows = {**thresholds.values, "all": thresholds.joint} if several else {}
    return Table(
        "thresholds",
        "Thresholds per language",
        ("language", *thresholds.target_names),
        tuple((code, *(show_number(v, 3) or "–" for v in row)) for code, row in rows.items()),
        notes=("A dash: the language does not have the label.",),
    )


def tabulate_gains(results: RunResults, thresholds: Thresholds) -> list[Table]:
    """Per language: thresholds, and the score of each label at 0.5 and with them."""
    readings = [results.reading(n) for n in ("at_half", "tuned_in_sample", "cross_fitted")]
    if not results.wording.tuned or not all(readings):
        return []
    name = results.wording.label_score
    return [
        Table(
            f"thresholds-{language}",
            f"Thresholds against 0.5, {language}, out of fold",
            ("label", "threshold", f"{name} at 0.5", "in-sample", "cross-fitted"),
            tuple(
                (label, cut, *(show_number(r["labels"][language].get(label), 3) for r in readings))
                for label, cut in _show_cuts(results, thresholds, language).items()
                if any(label in reading["labels"].get(language, {}) for reading in readings)
            ),
            notes=(_CROSS_FITTED,),
        )
        for language in thresholds.values
    ]


def tabulate_measures(results: RunResults) -> Table:
    """Every measure on every split, untuned and tuned."""
    tuned = results.wording.tuned
    rows = []
    for split, rules in results.splits.items():
        for rule, score in rules.items() if tuned else [("tuned", rules["tuned"])]:
            decided = {"half": "0.5", "tuned": "cross-fitted" if split == "oof" else "tuned"}[rule]
            numbers = (show_number(value) for value in score.measures.values())
            rows.append(
                (
                    SPLIT_TITLES[split],
                    *([decided] if tuned else []),
                    *numbers,
                    str(score.n_examples),
                )
            )
    names = next((rules["tuned"].measures for rules in results.splits.values()), {})
    return Table(
        "measures",
        "All measures",
        (
            "split",
            *(["thresholds"] if tuned else []),
            *(name_measure(name, results.task.kind) for name in names),
            "rows",
        ),
        tuple(rows),
        n_text=1 + tuned,
    )


def name_official_scores(official: Mapping[str, Any], kind: str) -> dict[str, str]:
    """The numbers of score.json by names for people; a language that is the average is left out."""
    codes = [part["language"] for part in official.get("languages") or ()]
    named: dict[str, str] = {}
    for key, value in (official.get("scores") or {}).items():
        if (key, value) == ("languages_scored", 1):
            continue
        start, _, metric = str(key).partition("_")
        name = name_measure(metric, kind)
        if start == "avg":
            named[name] = str(value)
        elif start not in codes:
            named[str(key).replace("_", " ")] = str(value)
        elif named.get(name) != str(value):
            named[f"{start} {name}"] = str(value)
    return named


def tabulate_official(results: RunResults) -> Table:
    """What score.json says."""
    official = results.official
    rows = name_official_scores(official, results.task.kind).items()
    notes = [str(official[key]) for key in ("message", "explanation") if official.get(key)]
    if official and not official.get("accepted", True):
        notes.insert(0, "The scorer rejects this zip.")
    return Table(
        "official",
        "What the scorer says of the zip",
        ("score", "value"),
        tuple(rows) or ((("–", "–"),) if notes else ()),
        notes=tuple(notes),
    )


def tabulate_targets(results: RunResults) -> Table:
    """The targets that are predicted beside the one that the page is about."""
    rows = []
    for name, figures in (results.estimate.get("targets") or {}).items():
        reading = figures["cross_fitted"]
        interval = show_interval((reading["low"], reading["high"]))
        measure = name_measure(figures["metric"], results.target_kinds.get(name, results.task.kind))
        rows.append((name, measure, show_number(reading["score"]), interval))
    return Table(
        "targets",
        "Other targets",
        ("target", "metric", "out of fold", "95% interval"),
        tuple(rows),
        n_text=2,
        notes=(f"All else here is about the target {results.target}.",),
    )


def tabulate_floors(results: RunResults) -> Table:
    """What needs no encoder, on the same rows, and how far the run is above it."""
    floors = (results.estimate.get("verdict") or {}).get("floors") or ()
    notes = ["On the out-of-fold rows, cross-fitted."]
    for floor in floors:
        if answer := floor.get("answer") if results.wording.numeric else None:
            chosen = ", ".join(f"{label} {value:.3g}" for label, value in answer.items())
            notes.append(f"Chosen for the metric on the other folds; on all rows {chosen}.")
        if floor.get("note"):
            notes.append(f"{floor['name'].capitalize()}: {floor['note']}.")
    return Table(
        "floors",
        "Held against what needs no encoder",
        ("answers", results.metric_name, "this run is above by", "95% interval"),
        tuple(
            (
                floor["name"],
                show_number(floor["score"]),
                f"{floor['above']:+.4f}",
                show_interval((floor["low"], floor["high"])),
            )
            for floor in floors
        ),
        notes=(" ".join(notes),),
    )


def tabulate_uploads(results: RunResults) -> Table:
    """What the site said of the zips that were uploaded."""
    return Table(
        "uploads",
        "Uploads",
        ("time", "phase", "state", "scores", "zip (sha256)"),
        tuple(
            (
                upload.time,
                upload.phase_name,
                "rejected" if upload.rejected else upload.state,
                ", ".join(f"{name} {value:g}" for name, value in upload.scores.items()) or "–",
                f"{upload.zip} ({upload.sha256[:12]})",
            )
            for upload in results.uploads
        ),
        n_text=5,
        notes=("As the site answered; the zip is known by the first 12 digits of its sha256.",),
    )


def tabulate_baselines(results: RunResults) -> Table:
    """The published results nearest to this run's: several for one language, one for each of many.

    A published value is on the official test split; the run's own too, if its labels are known.
    """
    test = results.split_score("test")
    scores = results.expected.get("languages", {}) if test is None else test.languages
    own_title = f"this run ({'expected' if test is None else 'test'})"
    nearest = {}
    for language in results.settings["languages"]:
        score = scores.get(language)
        published = results.task.baselines_for(language, results.metric)
        if score is not None and published:
            nearest[language] = score, sorted(published, key=lambda pair: abs(pair[0] - score))
    notes = ("Published values are on the official test split.",)
    if len(results.settings["languages"]) > 1:
        return Table(
            "baselines",
            "Nearest published results",
            ("language", own_title, results.metric_name, "system", "source"),
            tuple(
                (language, show_number(score), show_number(value), baseline.system, baseline.source)
                for language, (score, ((value, baseline), *_)) in nearest.items()
            ),
            n_text=5,
            notes=notes,
        )
    lines = [
        line
        for score, published in nearest.values()
        for line in [
            (score, own_title, "–"),
            *((value, b.system, b.source) for value, b in published[:_N_BASELINES]),
        ]
    ]
    lines.sort(key=lambda line: -line[0])
    return Table(
        "baselines",
        "Nearest published results",
        (results.metric_name, "system", "source"),
        tuple((show_number(value), system, source) for value, system, source in lines),
        n_text=3,
        notes=notes,
        marked=tuple(row for row, line in enumerate(lines) if line[1] == own_title),
    )


def _show_scores(score: SplitResult | None) -> dict[str, str]:
    return {label.label: show_number(label.score, 3) for label in score.labels} if score else {}


def _show_cuts(
    results: RunResults, thresholds: Thresholds, language: str | None = None
) -> dict[str, str]:
    """The thresholds of each label in words: of a language, or of the only one, or of all."""
    if language is None and len(thresholds.values) == 1:
        (language,) = thresholds.values
    rule = thresholds.intensity
    names: Sequence[str] = results.task.all_labels
    if rule is not None and rule.method == "expected_value":
        names = rule.label_names
        table: FloatArray = rule.joint if language is None else rule.cuts.get(language, rule.joint)
    else:
        values = thresholds.joint if language is None else thresholds.values[language]
        table = np.reshape(values, (len(names), -1))
    return {
        name: " / ".join(show_number(float(cut), 3) or "–" for cut in row)
        for name, row in zip(names, table, strict=True)
    }
