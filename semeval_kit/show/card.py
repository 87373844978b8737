"""The model card of a run, with snippets that load its model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from semeval_kit.decision.rule import Thresholds
from semeval_kit.errors import import_extra
from semeval_kit.files import write_atomic
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import read_rule
from semeval_kit.show.folded_head import Layout, choose_layout
from semeval_kit.show.pages import fill_template, group_tables
from semeval_kit.show.paper import collect_citations, collect_facts
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.scores import N_RESAMPLES
from semeval_kit.show.tables_of_scores import (
    describe_use,
    tabulate_gains,
    tabulate_labels,
    tabulate_results,
)
from semeval_kit.show.tabulate import Markdown
from semeval_kit.show.wording import find_wording
from semeval_kit.task.metric_facts import NUMERIC

# The organisers' codes that are not ISO 639.
_ISO = {"chn": "zh", "esp": "es", "ptbr": "pt", "ptmz": "pt"}
_EMBEDDED_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_EMBEDDED_LICENCE = "apache-2.0"
# What the hub calls them; other metrics keep their name in the task file.
_HUB_METRICS = {
    **dict.fromkeys(("macro_f1", "micro_f1", "weighted_f1"), "f1"),
    **dict.fromkeys(("accuracy", "exact_match", "jaccard"), "accuracy"),
    **dict.fromkeys(("pearson_r", "pearson"), "pearsonr"),
    "weighted_precision": "precision",
    "weighted_recall": "recall",
    "macro_auc": "roc_auc",
    "spearman": "spearmanr",
}
_TEXT = "I never thought you would do this to me!"
_PAIR = "You have done something that I did not expect."
_CONTEXT = "They had been friends for years."


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
    n_resamples: int = N_RESAMPLES,
) -> str:
    """The card of a finished run, or of one fold's model for a folder that `export` makes.

    Args:
        run: finished.
        fold: the fold whose model the card lies beside; None for the run as a whole.
        licence: of the model, such as "cc-by-4.0"; empty: the card asks for it.
        n_resamples: bootstraps per interval.

    Raises:
        KitError: a stage has not run, or huggingface_hub or jinja2 is missing.
    """
    hub = import_extra("huggingface_hub", "analysis", "Model cards need")
    results = read_results(run, n_resamples=n_resamples)
    thresholds = read_rule(run)
    metadata = _describe_model(run, results, licence).to_yaml(line_break="\n")
    labels = [tabulate_labels(results, [split]) for split in results.splits]
    tables = group_tables([*tabulate_results(results), *labels])
    tables["thresholds"] = tabulate_gains(results, thresholds)
    facts = _collect_facts(run, results, thresholds, fold, licence)
    body = fill_template("card.md.j2", facts, tables)
    return str(hub.ModelCard(f"---\n{metadata}\n---\n\n{body}", ignore_metadata_errors=False))


def list_commands(run: Run) -> list[str]:
    """What a shell runs to use a run's models: those of its kind, its inputs and its task."""
    if run.member == "external":
        return []
    name, data = shlex.quote(run.name), run.task.data
    inputs = [_TEXT, *([_PAIR] if data.has_pairs else []), *([_CONTEXT] if data.context else [])]
    texts = " ".join(shlex.quote(text) for text in inputs)
    spoken = f" --language {run.languages[0]}" if len(run.languages) > 1 else ""
    command = f"semeval-kit predict submissions/{name} {texts}{spoken}"
    if len(inputs) > 1:  # in one line, with tabs between
        pattern = r"\t".join("%s" for _ in inputs) + r"\n"
        printed = f"printf {shlex.quote(pattern)} {texts}"
        command = f"{printed} | semeval-kit predict submissions/{name} -{spoken}"
    export = f"semeval-kit export submissions/{name} --to {name}-model"
    return [command, *([export] if is_exportable(run) else [])]


def is_exportable(run: Run) -> bool:
    """Whether `export` can lay a model of the run out for `pipeline()`."""
    recipe, several = run.recipe, len(run.task.targets) > 1
    beyond = recipe.get("pairs") == "apart" or recipe.get("pooling") == "layers"
    return run.member == "encoder" and run.task.kind not in NUMERIC and not (beyond or several)


def python_snippet(run: Run, thresholds: Thresholds, layout: Layout = "pipeline") -> str:
    """Python that loads an exported folder and decides one text."""
    rule = thresholds.intensity
    language = run.languages[0] if run.languages[0] in thresholds.values else "joint"
    facts = {
        "layout": layout,
        "kind": run.task.kind,
        "has_offsets": thresholds.offsets is not None,
        "by_expected_level": rule is not None and rule.method == "expected_value",
        "max_length": run.recipe["max_length"],
        "text": Markdown(json.dumps(_TEXT)),
        "language": Markdown(json.dumps(language)),
    }
    return str(fill_template("snippet.j2", facts, {}))


def config_entries(run: Run, thresholds: Thresholds) -> dict[str, Any]:
    """Entries for config.json, which transformers keeps: decisions per language and "joint".

    `thresholds` holds one number per target, and `level_cuts` (intensities decided by the expected
    level) the cut points of each label, `label_weights` (single labels with offsets) what each prob
    is multiplied by; a target that a language does not have is left out.
    """
    if thresholds.offsets is not None:
        factors = np.exp(thresholds.offsets).tolist()
        return {"label_weights": dict(zip(thresholds.target_names, factors, strict=True))}
    if not find_wording(run.task).tuned:
        return {}
    key, names = "thresholds", thresholds.target_names
    cuts = {**thresholds.values, "joint": thresholds.joint}
    rule = thresholds.intensity
    if rule is not None and rule.method == "expected_value":
        key, names, cuts = "level_cuts", rule.label_names, {**rule.cuts, "joint": rule.joint}
    return {
        key: {
            language: {
                name: value.tolist()
                for name, value in zip(names, np.asarray(row), strict=True)
                if not np.isnan(value).any()
            }
            for language, row in cuts.items()
        }
    }


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
            metric_type=_HUB_METRICS.get(results.metric, results.metric),
            metric_name=f"{results.metric_name} ({how})",
            metric_value=round(value, 6),
        )
        for split, how, value in _list_scores(results)
    ]
    return ModelCardData(
        language=list(dict.fromkeys(_ISO.get(code, code) for code in run.languages)),
        license=licence or None,
        library_name="transformers" if results.member == "encoder" else "semeval-kit",
        pipeline_tag="text-classification",
        base_model=_hub_name(encoder.removeprefix("frozen:"))
        if results.member in ("encoder", "frozen")
        else None,
        datasets=[task.hub.repo] if task.hub else None,
        metrics=[_HUB_METRICS.get(results.metric, results.metric)],
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
        "exportable": is_exportable(run),
        "numeric": results.wording.numeric,
        "of_emotions": _is_of_emotions(run),
        "url": Markdown(f"<{task.url}>" if task.url else ""),
        "machine": {"cpu": machine.get("cpu", ""), "device": machine.get("device", "")},
        "encoder_licence": _EMBEDDED_LICENCE if encoder == "embedded" else "",
        "data_licence": task.hub.licence if task.hub else "",
        "licence": licence,
        **_collect_use(run, thresholds, fold),
        "bibtex": Markdown(_fence("bibtex", "\n\n".join(entries)) if entries else "None."),
    }


def _collect_use(run: Run, thresholds: Thresholds, fold: int | None) -> dict[str, Any]:
    """How a model is used: commands for a run, Python for an exported fold."""
    if fold is None:
        return {"commands": Markdown("\n".join(list_commands(run)))}
    layout, has_mean_head = choose_layout(run.model_dir(fold))
    snippet = Markdown(python_snippet(run, thresholds, layout))
    return {"commands": "", "layout": layout, "has_mean_head": has_mean_head, "snippet": snippet}


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
