"""What a person reads when a run is finished or a submission scored, as lines of text."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semeval_kit.cli.options import align_rows
from semeval_kit.decision.verdict import name_constant
from semeval_kit.plurals import count_noun
from semeval_kit.show.tabulate import show_reading
from semeval_kit.show.wording import TUNED_RULES, find_wording, name_measure
from semeval_kit.submission.score import LanguageScore, Score
from semeval_kit.task.metric_facts import is_low
from semeval_kit.task.task import Task

if TYPE_CHECKING:
    from semeval_kit.run.directory import Run
    from semeval_kit.show.results import RunResults


_N_PUBLISHED = 3


def summarise(run: Run) -> str:
    """Describe a finished run in plain lines."""
    from semeval_kit.files import read_json

    lines, learnt = [""], True
    if run.estimate_file.is_file():
        estimate = read_json(run.estimate_file)
        learnt = estimate.get("verdict", {"learnt": True})["learnt"]
        scores = estimate["cross_fitted"]["languages"]
        lines += [describe_estimate(run, estimate, in_full=not run.report_file.is_file())]
        foretold = (estimate.get("expected") or {}).get("languages") or {}
        lines += [*_describe_estimates(run, scores, foretold), *_describe_results(run), ""]
        lines += describe_verdict(run, estimate)
    elif run.settings.get("per_language"):
        lines += [*_describe_estimates(run, *_read_parts(run)), ""]
    if run.before_dir.is_dir():
        lines += [_describe_before(run), ""]
    if run.score_file.is_file():
        stored = read_json(run.score_file)
        score = describe_score(run.task, Score.from_json(stored))
        lines += [f"Score on {stored['gold']}:", *score]
        if run.task.practice:
            lines.append("This is practice data: its score says nothing about any leaderboard.")
        lines.append("")
    if run.report_file.is_file():
        lines.append(f"report:  {run.report_file}")
    if run.zip_file.is_file():
        lines.append(f"zip:     {run.zip_file}")
    lines += ["", _next_step(run, learnt)]
    return "\n".join(lines)


def describe_estimate(run: Run, estimate: dict[str, Any], *, in_full: bool = True) -> str:
    """The three readings side by side, with the one to believe marked; one where none is tuned."""
    metric = name_measure(estimate["metric"], run.task.kind)
    rows = [
        ("untuned (0.5)", estimate["at_half"], ""),
        ("tuned, in-sample", estimate["tuned_in_sample"], "optimistic"),
        ("tuned, cross-fitted", estimate["cross_fitted"], ""),
    ]
    wording = find_wording(run.task)
    if not wording.tuned:
        name = "the predicted numbers" if wording.numeric else "the most probable label"
        is_tuned = estimate.get("rule") in TUNED_RULES
        rows[0] = (name, estimate["at_half" if is_tuned else "cross_fitted"], "")
        rows = rows if is_tuned else rows[:1]
    expected = estimate.get("expected")
    if expected is None:  # of an older version
        rows[-1] = (*rows[-1][:2], "expect this")
    elif not expected["withheld"]:
        models = expected["n_models"]
        name = f"uploaded, mean of {models}" if models > 1 and expected["n_rows"] else "uploaded"
        rows.append((name, expected, "expect this"))
    others = estimate.get("targets") or {}
    whose = f" of {run.task.main_targets[0].name}" if others else ""
    n_rows = count_noun(estimate["n_examples"], "row")
    lines = [f"Out-of-fold {metric}{whose} on {n_rows} (95% interval):"]
    for name, reading, remark in rows:
        lines.append(f"  {name:<24} {show_reading(reading)}  {remark}".rstrip())
    if expected is not None and expected["withheld"]:
        lines.append(f"  uploaded: not foretold; {expected['withheld']}")
    for target in run.task.main_targets[1:] if others else ():
        figures = others[target.name]
        measure = name_measure(figures["metric"], target.kind)
        lines.append(f"  target {target.name}: {measure} {show_reading(figures['cross_fitted'])}")
    floors = (estimate.get("verdict") or {}).get("floors") or ()
    if floors:
        shown = ", ".join(
            f"{floor['name']} {floor['score']:.4f}"
            + (f" ({floor['note']})" if floor.get("note") else "")
            for floor in floors
        )
        lines.append(f"  held against: {shown}")
    notes = estimate["notes"]
    if in_full:
        lines += [f"  note: {note}" for note in notes]
    elif notes:
        lines.append(f"  {count_noun(len(notes), 'caveat')}: see Caveats in the report.")
    return "\n".join(lines)


def describe_verdict(run: Run, estimate: dict[str, Any]) -> list[str]:
    """In red why a model has not learnt, and the likely cause; nothing of one that has."""
    from semeval_kit.show.findings import suggest_cause

    verdict = estimate.get("verdict")
    if verdict is None or verdict["learnt"]:
        return []
    lines = ["This model has not learnt the task:", *(f"  {why}" for why in verdict["reasons"])]
    lines.append(suggest_cause(run))
    return [click.style(line, fg="red") for line in lines]


def describe_score(task: Task, score: Score) -> list[str]:
    """Lines that tell a score to people."""
    if not score.accepted:
        return [
            f"rejected (rules of {score.rules}): {score.message}",
            score.explanation,
            *_show_official(score),
        ]
    lines = [f"{task.title} (rules: {score.rules})", ""]
    lines += _show_languages(task, score)
    for result in score.languages:
        labels = _show_labels(result) if result.labels else []
        lines += ["", *labels, *_show_baselines(task, result)]
    lines += ["", _describe_average(score), *_show_official(score)]
    return [*lines, *(f"warning: {warning}" for warning in score.warnings)]


def _describe_results(run: Run) -> list[str]:
    """Dev's score where its labels are at hand, the nearest published results, and findings."""
    from semeval_kit.errors import KitError
    from semeval_kit.show.answers import read_answers
    from semeval_kit.show.findings import N_SHOWN, list_findings
    from semeval_kit.show.results import read_results
    from semeval_kit.show.tables_of_scores import describe_use

    try:
        answers = {split: read_answers(run, split) for split in ("oof", "dev")}
        results = read_results(run, ("oof", "dev"), answers=answers, n_resamples=0)
        oof = answers["oof"]
        findings = list_findings(run, results, oof)[:N_SHOWN] if oof is not None else ()
    except KitError as error:
        return [f"  note: {error.message}"]
    lines = []
    further = _list_further(results, "oof")
    if further:
        lines.append(f"  out of fold also: {further}")
    dev = results.split_score("dev")
    if dev is not None:
        use, further = describe_use(results, "dev"), _list_further(results, "dev")
        remarks = [count_noun(dev.n_examples, "row"), *([use] if use else [])]
        if further:
            remarks.append(f"also {further}")
        if "dev" in results.constants:
            constant = name_constant(results.task.kind)
            remarks.append(f"{constant} {results.constants['dev']:.4f}")
        remark = "; ".join(remarks)
        lines.append(f"  {f'dev {results.metric_name}':<24} {dev.score:.4f} ({remark})")
        if alarm := results.describe_constant("dev"):
            lines.append(click.style(f"  {alarm}", fg="red"))
    if not run.score_file.is_file():  # else they stand beside the score
        lines += _describe_published(results)
    if findings:
        lines += ["", "What would score higher?"]
    for number, finding in enumerate(findings, start=1):
        lines.append(f"  {number}. {finding.title}. {finding.sentence}")
        for command in finding.commands:
            placed = command.replace(" DATA ", f" {shlex.quote(str(run.data))} ")
            placed = placed.replace(" submissions/", f" {shlex.quote(str(run.path.parent))}/")
            if run.path.parent != Path("submissions"):  # where the next run would land else
                placed += f" --submissions {shlex.quote(str(run.path.parent))}"
            lines.append(f"       {placed}")
    return lines


def _list_further(results: RunResults, split: str) -> str:
    """The other metrics that the task file names, of the uploaded rule on a split."""
    score = results.split_score(split)
    measures = score.measures if score is not None else {}
    return ", ".join(
        f"{name_measure(name, results.task.kind)} {measures[name]:.4f}"
        for name in results.task.metrics_of()
        if name != results.metric and not math.isnan(measures.get(name, math.nan))
    )


def _describe_published(results: RunResults) -> list[str]:
    """The published results nearest to what the upload of a single language is to score."""
    expected = results.expected.get("languages", {})
    if len(expected) != 1:
        return []
    ((language, score),) = expected.items()
    lines = _list_published(results.task, language, results.metric, score, "expected")
    return lines and ["  published, on the official test split:", *(f"  {line}" for line in lines)]


def _describe_before(run: Run) -> str:
    """The table of before and after fine-tuning."""
    from semeval_kit.show.answers import read_answers
    from semeval_kit.show.compare import find_before, tabulate_before
    from semeval_kit.show.tabulate import draw_tables

    oof, before = read_answers(run, "oof"), find_before(run)
    if oof is None or before is None:
        return "The encoder before fine-tuning is not measured yet: run the same command again."
    table = tabulate_before(run, oof, before)
    return draw_tables([table], table.notes)


def _read_parts(run: Run) -> tuple[dict[str, float], dict[str, float]]:
    """Of languages with runs of their own the cross-fitted score, and what the upload will have."""
    from semeval_kit.files import read_json
    from semeval_kit.run.directory import Run

    scores, foretold = {}, dict[str, float]()
    for language in run.languages:
        part = Run(run.language_dir(language))
        if part.estimate_file.is_file():
            estimate = read_json(part.estimate_file)
            scores[language] = estimate["cross_fitted"]["score"]
            foretold |= (estimate.get("expected") or {}).get("languages") or {}
    return scores, foretold


def _describe_estimates(
    run: Run, scores: dict[str, float], foretold: dict[str, float]
) -> list[str]:
    """The cross-fitted score of each language, and the average as the leaderboard counts it.

    That is of what the upload is foretold to score, where that is known of every language.
    """
    counted = run.task.scoring.languages
    lines = []
    if len(scores) > 1:
        figures = "  ".join(f"{language} {value:.4f}" for language, value in scores.items())
        lines.append(f"  cross-fitted per language: {figures}")
    own_scores = [scores[language] for language in run.languages if language in scores]
    if len(own_scores) < len(run.languages):
        measured, predicted = ", ".join(scores), ", ".join(run.languages)
        return [*lines, f"  measured on {measured}; what {predicted} will score is not known"]
    if run.task.scoring.missing_languages != "zero" or run.score_file.is_file():
        return lines  # where it is scored, the score says so
    if len(own_scores) < len(counted):
        of, taken = "out of fold", own_scores
        if set(run.languages) <= set(foretold):
            of, taken = "foretold of the upload", [foretold[code] for code in run.languages]
        so_far = sum(taken) / len(counted)
        lines.append(
            f"  {len(own_scores)} of the task's {len(counted)} languages: the official average "
            f"needs all and counts a missing one as 0, so far {so_far:.4f} ({of})"
        )
    return lines


def _next_step(run: Run, learnt: bool) -> str:
    if run.task.practice:
        return (
            "Next: the real data. Put the organisers' CSV files into a folder and run\n"
            "  make submission TASK=semeval2025-task11-a LANGS=eng DATA=<folder> MODEL=<hub id>"
        )
    if run.zip_file.is_file() and not learnt:
        from semeval_kit.show.findings import suggest_step

        return f"Next: {suggest_step(run)}; an upload would be wasted."
    if run.zip_file.is_file():
        url = run.task.url
        where = f"at {url} (" if url else "to the competition (the task file has no url of it yet; "
        return f"Next: upload {run.zip_file.name} {where}see README, 'Upload by hand')."
    return "Next: put the test files beside the others and run the same command for the zip."


def _show_languages(task: Task, score: Score) -> list[str]:
    metrics = list(score.languages[0].metrics)
    rows = [["language", "rows", *(_name_metric(task, metric) for metric in metrics)]]
    for result in score.languages:
        values = [f"{result.metrics[metric]:.6f}" for metric in metrics]
        rows.append([result.language, str(result.n_examples), *values])
    return align_rows(rows, right=range(1, len(rows[0])))


def _name_metric(task: Task, key: str) -> str:
    """A metric's name for people, of several targets behind the target's, as `hate macro-F1`."""
    for target in task.main_targets:
        if key.startswith(f"{target.name}_"):
            measure = name_measure(key.removeprefix(f"{target.name}_"), target.kind)
            return f"{target.name} {measure}"
    return name_measure(key, task.kind)


def _show_labels(result: LanguageScore) -> list[str]:
    intensity = any(label.pearson_r is not None for label in result.labels)
    head = [result.language, "support", "predicted", "precision", "recall", "F1"]
    rows = [[*head, name_measure("pearson_r", "intensity")] if intensity else head]
    for label in result.labels:
        values = [label.precision, label.recall, label.f1]
        if label.pearson_r is not None:
            values.append(label.pearson_r)
        counts = [str(label.support), str(label.predicted)]
        rows.append([label.label, *counts, *(f"{value:.4f}" for value in values)])
    return align_rows(rows, right=range(1, len(rows[0])))


def _show_baselines(task: Task, result: LanguageScore) -> list[str]:
    metric = task.scoring.metrics[0]
    ours = result.metrics.get(metric)
    if ours is None:
        return []
    lines = _list_published(task, result.language, metric, ours, "ours")
    name = name_measure(metric, task.kind)
    return lines and [f"published {name} nearest to ours ({ours:.4f}):", *lines]


def _list_published(task: Task, language: str, metric: str, own: float, whose: str) -> list[str]:
    """The published results nearest to a score of one's own, the highest first."""
    published = task.baselines_for(language, metric)
    nearest = sorted(published, key=lambda pair: abs(pair[0] - own))[:_N_PUBLISHED]
    return [
        f"  {value:.4f} ({own - value:+.4f} {whose}) {baseline.system} "
        f"[{baseline.source}{baseline.note and f'; {baseline.note}'}]"
        for value, baseline in sorted(nearest, key=lambda pair: -pair[0])
    ]


def _describe_average(score: Score) -> str:
    count, total = len(score.languages), score.denominator
    if count < total:
        return f"{count} of {total} languages: average counts the missing {total - count} as 0"
    if score.missing:
        return f"average over the {count_noun(total, 'language')} of the submission"
    return f"average over {count_noun(total, 'language')}"


def _show_official(score: Score) -> list[str]:
    lines = []
    for key, value in score.scores.items():
        if key.startswith("avg_"):
            note = " (lower is better; over the languages that are there)" if is_low(key) else ""
            lines.append(f"{key} = {value}{note}")
    return lines
