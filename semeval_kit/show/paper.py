"""The paper's folder: tables, a draft of sentences, and references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semeval_kit.data.examples import Examples
from semeval_kit.data.texts import find_overlap
from semeval_kit.run.directory import Run, write_atomic
from semeval_kit.show.answers import ANSWERED, Answers, narrow_examples, read_answers, read_rule
from semeval_kit.show.citations import collect_citations
from semeval_kit.show.compare import Resampling, compare_runs
from semeval_kit.show.mistakes import tabulate_confusion, tabulate_errors
from semeval_kit.show.pages import fill_template
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.scores import N_RESAMPLES
from semeval_kit.show.tables_of_comparisons import group_seeds, tabulate_ablations, tabulate_seeds
from semeval_kit.show.tables_of_runs import (
    show_field,
    tabulate_data,
    tabulate_folds,
    tabulate_machine,
    tabulate_recipe,
    tabulate_weights,
)
from semeval_kit.show.tables_of_scores import (
    describe_use,
    name_official_scores,
    tabulate_baselines,
    tabulate_floors,
    tabulate_gains,
    tabulate_labels,
    tabulate_languages,
    tabulate_main,
    tabulate_measures,
    tabulate_targets,
    tabulate_uploads,
)
from semeval_kit.show.tabulate import Table, show_count, show_interval, show_number, show_seconds
from semeval_kit.show.wording import TUNED_RULES, name_encoder

AnswersBySplit = Mapping[str, Answers | None]
Tables = dict[str, list[Table]]


def write_paper(
    run: Run,
    others: Sequence[Run] = (),
    *,
    resampling: Resampling | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write paper.md, paper.tex and references.bib into the run's folder.

    Returns:
        The three paths.

    Raises:
        KitError: a stage has not run, or jinja2 is missing.
    """
    resampling = resampling or Resampling(n_resamples=N_RESAMPLES)
    others = [other for other in others if other.path.resolve() != run.path.resolve()]
    answers = {split: read_answers(run, split) for split in ANSWERED}
    results = read_results(run, answers=answers, n_resamples=resampling.n_resamples)
    other_results = [read_results(other, ["dev"], n_resamples=0) for other in others]
    tables = _collect_tables(run, results, other_results, answers)
    tables["ablations"] = _tabulate_others(run, others, resampling, tell)
    facts = _collect_facts(run, results, other_results, answers)
    written = {"references.bib": facts["bibliography"].to_bibtex()}
    for name, latex in (("paper.tex", True), ("paper.md", False)):
        body = fill_template("paper.j2", facts, tables, latex)
        shell = {**facts, "body": body}
        written[name] = str(fill_template(f"{name}.j2", shell, tables, latex))
    paths = [run.paper_dir / name for name in ("paper.md", "paper.tex", "references.bib")]
    for path in paths:
        write_atomic(path, written[path.name])
    return paths


def collect_facts(run: Run, results: RunResults) -> dict[str, Any]:
    """What card and paper say of a run in words."""
    return {
        "name": run.name,
        "task": results.task,
        "labels": results.task.all_labels,
        "languages": ", ".join(run.languages),
        "train_languages": ", ".join(run.settings["train_languages"]),
        "train_splits": " + ".join(run.learnt_splits),
        "n_train": run.n_learnt_rows,
        "n_held_out": run.n_held_out_rows,
        "use_of_dev": describe_use(results, "dev"),
        "encoder": name_encoder(results.encoder),
        "recipe": {field: show_field(results, field) for field in results.recipe},
        "n_models": run.n_models,
        "seeds": run.seeds,
        "per": "fold" if run.n_models == run.n_folds else "fold and seed",
        "scheme": run.scheme,
        "member": results.member,
        "members": list(run.settings.get("members", ())),
        "outputs": results.wording.outputs,
        "tuned": results.wording.tuned,
        "parameters": show_count(results.parameters),
        "seconds": show_seconds(results.seconds),
        "alarms": results.alarms,
        "notes": results.estimate.get("notes", ()),
    }


def _collect_tables(
    run: Run, results: RunResults, others: Sequence[RunResults], answers: AnswersBySplit
) -> Tables:
    thresholds = read_rule(run)
    judged = answers["oof"] if "dev" in run.learnt_splits else answers["dev"] or answers["oof"]
    assert judged is not None
    groups = group_seeds([results, *others])
    return {
        "data": tabulate_data(results.task, _read_splits(run, answers)).pages(),
        "main": [tabulate_main(results)],
        "uploads": _if_any(tabulate_uploads(results)),
        "targets": _if_any(tabulate_targets(results)),
        "floors": _if_any(tabulate_floors(results)),
        "measures": [tabulate_measures(results)],
        "labels": [tabulate_labels(results, [split]) for split in results.splits],
        "languages": _if_any(tabulate_languages(results)),
        "baselines": _if_any(tabulate_baselines(results)),
        "thresholds": tabulate_gains(results, thresholds),
        "weights": _if_any(tabulate_weights(results)),
        "folds": [tabulate_folds(results)],
        "seeds": [tabulate_seeds(groups)] if any(len(group) > 1 for group in groups) else [],
        "recipe": [tabulate_recipe(results, others)],
        "machine": [tabulate_machine(results)],
        "confusion": _if_any(tabulate_confusion(results.task, judged)),
        "errors": [table for table in tabulate_errors(results.task, judged) if table.rows],
    }


def _if_any(table: Table) -> list[Table]:
    return [table] if table.rows else []


def _tabulate_others(
    run: Run, others: Sequence[Run], resampling: Resampling, tell: Callable[[str], None] | None
) -> list[Table]:
    tables = []
    for split in ("oof", "dev") if others else ():
        runs = (run, *others)
        if split == "dev" and not all(
            one.probs_file("dev", language).is_file() for one in runs for language in one.languages
        ):
            continue
        comparison = compare_runs(runs, split, reference=run.name, resampling=resampling, tell=tell)
        tables.append(tabulate_ablations(comparison, run.name))
    return tables


def _read_splits(run: Run, answers: AnswersBySplit) -> dict[str, Examples]:
    """The rows learnt from, and the rows of dev and test with labels where they are known."""
    splits = {" + ".join(run.learnt_splits): narrow_examples(run, run.read_learnt())}
    for split in ("dev", "test"):
        given = answers[split]
        if split in run.learnt_splits:
            continue
        if given is not None:
            splits[split] = given.examples
        elif all(run.probs_file(split, code).is_file() for code in run.languages):
            splits[split] = narrow_examples(run, run.read_split(split))
    return splits


def _collect_facts(
    run: Run, results: RunResults, others: Sequence[RunResults], answers: AnswersBySplit
) -> dict[str, Any]:
    encoders = [one.encoder for one in (results, *others)]
    seeds = next(group for group in group_seeds([results, *others]) if results in group)
    readings = {
        name: _show_reading(results.reading(name))
        for name in ("at_half", "tuned_in_sample", "cross_fitted")
    }
    official = results.official if results.official.get("accepted") else {}
    readings["expected"] = _show_reading(results.expected)
    gain = results.estimate.get("gain") or [None, None, None]
    return {
        **collect_facts(run, results),
        "bibliography": collect_citations(run.task.citations, encoders),
        "encoder_name": results.encoder,
        "metric": results.metric_name,
        "decision": TUNED_RULES.get(results.estimate.get("rule", ""), results.wording.decision),
        "readings": readings,
        "gain": f"{show_number(gain[0])} {show_interval(gain[1:])}".strip(),
        "has_test": results.split_score("test") is not None,
        "official": official,
        "official_scores": ", ".join(
            f"{name} {value}"
            for name, value in name_official_scores(official, results.task.kind).items()
        ),
        "overlaps": _describe_overlaps(_read_splits(run, answers)),
        "n_runs": 1 + len(others),
        "n_seeds": len(seeds) * (run.n_models // run.n_folds),
    }


def _describe_overlaps(splits: Mapping[str, Examples]) -> list[str]:
    learnt, *_ = splits.values()
    overlaps = {
        split: find_overlap(learnt, splits[split]) for split in ("dev", "test") if split in splits
    }
    return [f"{len(o.rows)} of {o.n_second} {split} texts" for split, o in overlaps.items()]


def _show_reading(reading: Mapping[str, Any]) -> str:
    if not reading:
        return ""
    return f"{show_number(reading['score'])} {show_interval((reading['low'], reading['high']))}"
