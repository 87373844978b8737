"""The system paper's tables and references, as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semeval_kit.data.examples import Examples
from semeval_kit.data.texts import find_overlap
from semeval_kit.decision.rule import Thresholds
from semeval_kit.run.directory import Run, read_json, write_atomic
from semeval_kit.show.ablations import (
    group_seeds,
    tabulate_ablations,
    tabulate_recipe,
    tabulate_seeds,
)
from semeval_kit.show.answers import SPLITS, Answers, read_answers
from semeval_kit.show.citations import collect_citations
from semeval_kit.show.compare import compare_runs
from semeval_kit.show.comparison_tables import measure_title, shown_encoder
from semeval_kit.show.drafts import Tables, fill_template
from semeval_kit.show.paper_tables import (
    tabulate_confusion,
    tabulate_data,
    tabulate_errors,
    tabulate_labels,
    tabulate_languages,
    tabulate_machine,
    tabulate_main,
    tabulate_thresholds,
)
from semeval_kit.show.report_tables import tabulate_baselines
from semeval_kit.show.report_training import tabulate_folds
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.scores import N_RESAMPLES
from semeval_kit.show.tables import Table, show_count, show_interval, show_number, show_seconds


def write_paper(
    run: Run,
    others: Sequence[Run] = (),
    *,
    n_resamples: int = N_RESAMPLES,
    n_shuffles: int = 10_000,
    tell: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write paper.md, paper.tex and references.bib into the run's folder.

    Args:
        run: finished; the system that the paper describes.
        others: finished runs: ablations, and the same recipe with other seeds.
        n_resamples: bootstraps per interval.
        n_shuffles: shuffles per p-value.
        tell: is told what is being read.

    Returns:
        The three paths.

    Raises:
        KitError: a stage has not run, or jinja2 is missing.
    """
    others = [other for other in others if other.path.resolve() != run.path.resolve()]
    answers = {split: read_answers(run, split) for split in SPLITS}
    own = read_results(run, answers=answers, n_resamples=n_resamples)
    rest = [read_results(other, ["dev"], n_resamples=0) for other in others]
    bibliography = collect_citations(
        run.task.citations, [str(r.recipe["encoder"]) for r in (own, *rest)]
    )
    tables = _collect_tables(run, own, rest, answers)
    tables["ablations"] = _compare(run, others, n_resamples, n_shuffles, tell)
    facts = {**_collect_facts(run, own, rest, answers), "bibliography": bibliography}
    written = {
        "paper.md": fill_template("paper.md.j2", facts, tables),
        "paper.tex": fill_template("paper.tex.j2", facts, tables),
        "references.bib": bibliography.to_bibtex(),
    }
    for name, text in written.items():
        write_atomic(run.paper_dir / name, text)
    return [run.paper_dir / name for name in written]


def _collect_tables(
    run: Run,
    own: RunResults,
    rest: Sequence[RunResults],
    answers: Mapping[str, Answers | None],
) -> Tables:
    thresholds = Thresholds.from_json(read_json(run.thresholds_file))
    errors = None if "dev" in run.settings["train_splits"] else answers["dev"]
    errors = errors or answers["oof"]
    assert errors is not None
    confusion = tabulate_confusion(run.task, errors)
    languages = tabulate_languages(own)
    groups = group_seeds([own, *rest])
    return {
        "data": tabulate_data(run.task, _read_splits(run, answers)).pages(),
        "main": [tabulate_main(own)],
        "labels": [tabulate_labels(own, rules["tuned"]) for rules in own.splits.values()],
        "languages": [languages] if len(languages.rows) > 1 else [],
        "baselines": [table for table in [tabulate_baselines(own)] if table.rows],
        "thresholds": tabulate_thresholds(own, thresholds),
        "folds": [tabulate_folds(own)],
        "seeds": [tabulate_seeds(groups)] if any(len(group) > 1 for group in groups) else [],
        "recipe": [tabulate_recipe(own, rest)],
        "machine": [tabulate_machine(own)],
        "confusion": [confusion] if confusion else [],
        "errors": tabulate_errors(run.task, errors),
    }


def _compare(
    run: Run,
    others: Sequence[Run],
    n_resamples: int,
    n_shuffles: int,
    tell: Callable[[str], None] | None,
) -> list[Table]:
    if not others:
        return []
    found = []
    for split in ("oof", "dev"):
        if split == "dev" and not all(_answers_dev(other) for other in (run, *others)):
            continue
        comparison = compare_runs(
            [run, *others], split, reference=run.name,
            n_resamples=n_resamples, n_shuffles=n_shuffles, tell=tell,
        )  # fmt: skip
        found.append(tabulate_ablations(comparison, run.name))
    return found


def _answers_dev(run: Run) -> bool:
    return all(run.probs_file("dev", language).is_file() for language in run.languages)


def _read_splits(run: Run, answers: Mapping[str, Answers | None]) -> dict[str, Examples]:
    """Training rows, and the rows of dev and test with labels where they are known."""
    splits = {" + ".join(run.settings["train_splits"]): run.read_train()}
    for split in ("dev", "test"):
        found = answers[split]
        if split in run.settings["train_splits"]:
            continue
        if found is not None:
            splits[split] = found.examples
        elif all(run.probs_file(split, code).is_file() for code in run.languages):
            splits[split] = run.read_split(split)
    return splits


def _collect_facts(
    run: Run,
    own: RunResults,
    rest: Sequence[RunResults],
    answers: Mapping[str, Answers | None],
) -> dict[str, Any]:
    readings = {n: own.reading(n) for n in ("at_half", "tuned_in_sample", "cross_fitted")}
    gain = own.estimate.get("gain") or [None, None, None]
    train = run.read_train()
    return {
        "name": run.name,
        "task": run.task,
        "kind": run.task.kind,
        "metric": measure_title(own.metric, run.task.kind),
        "labels": run.task.all_labels,
        "languages": ", ".join(run.languages),
        "train_languages": ", ".join(run.settings["train_languages"]),
        "train_splits": " + ".join(run.settings["train_splits"]),
        "trained_on_dev": "dev" in run.settings["train_splits"],
        "n_train": len(train),
        "encoder": shown_encoder(own.encoder),
        "encoder_name": own.encoder,
        "recipe": own.recipe,
        "n_folds": run.n_folds,
        "holdout": float(run.recipe.get("holdout") or 0.0),
        "parameters": show_count(own.parameters),
        "seconds": show_seconds(own.seconds),
        "readings": {name: _show_reading(reading) for name, reading in readings.items()},
        "gain": f"{show_number(gain[0])} {show_interval(gain[1], gain[2])}".strip(),
        "dev": own.split_score("dev"),
        "test": own.split_score("test"),
        "official": own.official if own.official.get("accepted") else {},
        "notes": own.estimate.get("notes", ()),
        "overlaps": _describe_overlaps(train, _read_splits(run, answers)),
        "n_runs": 1 + len(rest),
        "n_seeds": max(
            (len(g) for g in group_seeds([own, *rest]) if g[0].name == own.name), default=1
        ),
    }


def _describe_overlaps(train: Examples, splits: Mapping[str, Examples]) -> list[str]:
    found = []
    for split in ("dev", "test"):
        if split in splits:
            overlap = find_overlap(train, splits[split])
            found.append(f"{len(overlap.rows)} of {overlap.n_second} {split} texts")
    return found


def _show_reading(reading: Mapping[str, Any]) -> str:
    if not reading:
        return ""
    return f"{show_number(reading['score'])} {show_interval(reading['low'], reading['high'])}"
