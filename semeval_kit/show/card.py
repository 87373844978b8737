"""The model card: what a model is, how it was measured, and where it must not be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semeval_kit.decision.rule import Thresholds
from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run, write_atomic
from semeval_kit.show.answers import read_rule
from semeval_kit.show.citations import collect_citations
from semeval_kit.show.drafts import collect_facts, fill_template
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.snippets import write_snippet
from semeval_kit.show.tables_of_scores import (
    describe_use,
    tabulate_gains,
    tabulate_labels,
    tabulate_main,
    tabulate_measures,
)
from semeval_kit.show.tabulate import Markdown

# The organisers' codes that are not ISO 639.
_ISO = {"chn": "zh", "esp": "es", "ptbr": "pt", "ptmz": "pt"}
_EMBEDDED_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_EMBEDDED_LICENCE = "apache-2.0"
_HUB_METRICS = {"pearson_r": "pearsonr", "accuracy": "accuracy", "jaccard": "accuracy"}


def write_card(run: Run, licence: str = "") -> str:
    """Write the card of a finished run into its folder and return it; see `make_card`."""
    card = make_card(run, licence=licence)
    write_atomic(run.card_file, card)
    return card


def make_card(
    run: Run,
    *,
    fold: int | None = None,
    licence: str = "",
    results: RunResults | None = None,
    n_resamples: int = 1000,
) -> str:
    """The card of a run, or of one fold's model for a folder that `export` makes.

    Args:
        run: finished.
        fold: the fold whose model the card lies beside; None for the run as a whole.
        licence: of the model, such as "cc-by-4.0"; empty: the card asks for it.
        results: of the run, if they have been read already.
        n_resamples: bootstraps per interval.

    Raises:
        KitError: a stage has not run, or huggingface_hub or jinja2 is missing.
    """
    try:
        from huggingface_hub import ModelCard
    except ImportError as error:
        raise KitError(
            "Model cards need huggingface_hub. Install it with: pip install 'semeval-kit[analysis]'"
        ) from error
    results = results or read_results(run, n_resamples=n_resamples)
    thresholds = read_rule(run)
    metadata = _describe_model(run, results, licence).to_yaml(line_break="\n")
    tables = {
        "main": [tabulate_main(results)],
        "measures": [tabulate_measures(results)],
        "labels": [tabulate_labels(results, [split]) for split in results.splits],
        "thresholds": tabulate_gains(results, thresholds),
    }
    facts = _collect_facts(run, results, thresholds, fold, licence)
    body = fill_template("card.md.j2", facts, tables)
    return str(ModelCard(f"---\n{metadata}\n---\n\n{body}", ignore_metadata_errors=False))


def _describe_model(run: Run, results: RunResults, licence: str) -> Any:
    """The card's metadata block."""
    from huggingface_hub import EvalResult, ModelCardData

    task, encoder = results.task, results.encoder
    measured = [
        EvalResult(
            task_type="text-classification",
            dataset_type=task.hub.repo if task.hub else task.name,
            dataset_name=task.title,
            dataset_split=split,
            metric_type=_HUB_METRICS.get(results.metric, "f1"),
            metric_name=f"{results.metric_name} ({how})",
            metric_value=round(value, 6),
        )
        for split, how, value in _list_scores(results)
    ]
    return ModelCardData(
        language=list(dict.fromkeys(_ISO.get(code, code) for code in run.languages)),
        license=licence or None,
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=_hub_name(encoder),
        datasets=[task.hub.repo] if task.hub else None,
        metrics=[_HUB_METRICS.get(results.metric, "f1")],
        tags=[
            "semeval",
            *(["emotion-classification"] if _is_of_emotions(run) else []),
            task.kind,
            task.name,
        ],
        model_name=run.name,
        eval_results=measured,
    )


def _list_scores(results: RunResults) -> list[tuple[str, str, float]]:
    scores = []
    cross_fitted = results.reading("cross_fitted")
    if cross_fitted:
        how = "out of fold, cross-fitted" if results.wording.tuned else "out of fold"
        scores.append(("train", how, float(cross_fitted["score"])))
    for split in ("dev", "test"):
        score = results.split_score(split)
        if score is not None:
            use = describe_use(results, split)
            how = "mean over folds" if len(results.folds) > 1 else "one model"
            scores.append((split, f"{how}; {use}" if use else how, score.score))
    return scores


def _collect_facts(
    run: Run, results: RunResults, thresholds: Thresholds, fold: int | None, licence: str
) -> dict[str, Any]:
    task, encoder = results.task, results.encoder
    bibliography = collect_citations(task.citations, [encoder])
    cited = {*bibliography.task_keys, *bibliography.encoder_keys[encoder]}
    entries = [e for e in bibliography.entries if any(f"{{{key}," in e for key in cited)]
    machine: Mapping[str, Any] = results.settings.get("machine", {})
    return {
        **collect_facts(run, results),
        "fold": fold,
        "of_emotions": _is_of_emotions(run),
        "url": Markdown(f"<{task.url}>" if task.url else ""),
        "machine": {"cpu": machine.get("cpu", ""), "device": machine.get("device", "")},
        "encoder_licence": _EMBEDDED_LICENCE if encoder == "embedded" else "",
        "data_licence": task.hub.licence if task.hub else "",
        "licence": licence,
        "snippet": Markdown(write_snippet(run, thresholds, fold)),
        "bibtex": Markdown(_fence("bibtex", "\n\n".join(entries)) if entries else "None."),
    }


def _is_of_emotions(run: Run) -> bool:
    """Whether the task says of itself that it is about emotions."""
    return "emotion" in f"{run.task.name} {run.task.title}".casefold()


def _hub_name(encoder: str) -> str | None:
    """The encoder's name on the hub; None for a folder of this machine."""
    if encoder == "embedded":
        return _EMBEDDED_HUB_NAME
    is_folder = encoder.startswith((".", "/", "~")) or encoder.count("/") > 1
    return None if is_folder else encoder


def _fence(language: str, text: str) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"
