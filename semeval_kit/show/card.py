"""The model card: what a model is, how it was measured, and where it must not be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semeval_kit.decision.rule import Thresholds
from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run, read_json, write_atomic
from semeval_kit.show.citations import collect_citations
from semeval_kit.show.comparison_tables import measure_title, shown_encoder
from semeval_kit.show.drafts import fill_template
from semeval_kit.show.markup import Markdown
from semeval_kit.show.paper_tables import tabulate_labels, tabulate_main, tabulate_thresholds
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.snippets import write_snippet
from semeval_kit.show.tables import show_count, show_seconds

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
    thresholds = Thresholds.from_json(read_json(run.thresholds_file))
    metadata = _describe_model(run, results, licence).to_yaml(line_break="\n")
    tables = {
        "main": [tabulate_main(results)],
        "labels": [tabulate_labels(results, rules["tuned"]) for rules in results.splits.values()],
        "thresholds": tabulate_thresholds(results, thresholds),
    }
    facts = _collect_facts(run, results, thresholds, fold, licence)
    body = fill_template("card.md.j2", facts, tables)
    return str(ModelCard(f"---\n{metadata}\n---\n\n{body}", ignore_metadata_errors=False))


def _describe_model(run: Run, results: RunResults, licence: str) -> Any:
    """The card's metadata block."""
    from huggingface_hub import EvalResult, ModelCardData

    task, encoder = run.task, results.encoder
    found = [
        EvalResult(
            task_type="text-classification",
            dataset_type=task.hub.repo if task.hub else task.name,
            dataset_name=task.title,
            dataset_split=split,
            metric_type=_HUB_METRICS.get(results.metric, "f1"),
            metric_name=f"{measure_title(results.metric, task.kind)} ({how})",
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
        tags=["semeval", "emotion-classification", task.kind, task.name],
        model_name=run.name,
        eval_results=found,
    )


def _list_scores(results: RunResults) -> list[tuple[str, str, float]]:
    scores = []
    cross_fitted = results.reading("cross_fitted")
    if cross_fitted:
        scores.append(("train", "out of fold, cross-fitted", float(cross_fitted["score"])))
    for split in ("dev", "test"):
        score = results.split_score(split)
        if score is not None:
            scores.append((split, "mean over folds", score.score))
    return scores


def _collect_facts(
    run: Run, results: RunResults, thresholds: Thresholds, fold: int | None, licence: str
) -> dict[str, Any]:
    task, encoder = run.task, results.encoder
    bibliography = collect_citations(task.citations, [encoder])
    wanted = {*bibliography.task_keys, *bibliography.encoder_keys[encoder]}
    entries = [e for e in bibliography.entries if any(f"{{{key}," in e for key in wanted)]
    machine: Mapping[str, Any] = results.settings.get("machine", {})
    return {
        "name": run.name,
        "task": task,
        "kind": task.kind,
        "labels": task.all_labels,
        "languages": ", ".join(run.languages),
        "train_languages": ", ".join(run.settings["train_languages"]),
        "train_splits": " + ".join(run.settings["train_splits"]),
        "n_train": len(run.read_train()),
        "url": Markdown(f"<{task.url}>" if task.url else ""),
        "encoder": shown_encoder(encoder),
        "recipe": run.recipe,
        "n_folds": run.n_folds,
        "holdout": float(run.recipe.get("holdout") or 0.0),
        "fold": fold,
        "parameters": show_count(results.parameters),
        "seconds": show_seconds(results.seconds),
        "machine": {"cpu": machine.get("cpu", ""), "device": machine.get("device", "")},
        "notes": results.estimate.get("notes", ()),
        "encoder_licence": _EMBEDDED_LICENCE if encoder == "embedded" else "",
        "data_licence": task.hub.licence if task.hub else "",
        "licence": licence,
        "snippet": Markdown(write_snippet(run, thresholds, fold)),
        "bibtex": Markdown(_fence("bibtex", "\n\n".join(entries)) if entries else "None."),
    }


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
