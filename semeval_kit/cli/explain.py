"""The command `explain`: which tokens push which label."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semeval_kit.cli.options import (
    WordsOption,
    data_option,
    fold_option,
    open_run,
    run_argument,
    say,
    texts_option,
)
from semeval_kit.plurals import count_noun

if TYPE_CHECKING:
    from tqdm import tqdm

    from semeval_kit.cli.predict import Row
    from semeval_kit.run.directory import Run
    from semeval_kit.run.members import RunModels
    from semeval_kit.show.explain.attributions import Attribution
    from semeval_kit.show.explain.page import Explanation, Heading


@click.command(
    epilog="\b\nExample:\n"
    '  semeval-kit explain submissions/my-run --text "What a day!"\n'
    "  semeval-kit explain submissions/my-run --split dev --rows 3,17-20 --method ig\n"
    "  semeval-kit explain submissions/my-run --split dev --global 100\n"
)
@run_argument
@data_option
@click.option("--text", "texts", multiple=True, help="A text to explain; may be repeated.")
@texts_option
@click.option(
    "--split", type=click.Choice(["train", "dev", "test"]), help="Rows of the run's data."
)
@click.option(
    "--rows", cls=WordsOption, help="Which rows of --split, the first is 1: such as 3,17-20."
)
@click.option("--ids", cls=WordsOption, help="Which ids of --split, separated by commas.")
@click.option(
    "--global",
    "sample",
    type=click.IntRange(1),
    help="Sum up the strongest tokens over a sample of so many rows of --split (default dev).",
)
@click.option("--language", help="Rows and thresholds of this language only.")
@fold_option
@click.option(
    "--method",
    type=click.Choice(["shap", "ig"]),
    default="shap",
    show_default=True,
    help="shap masks tokens; ig integrates gradients, which is faster.",
)
@click.option(
    "--max-evals",
    type=click.IntRange(4),
    help="Evaluations of each model per text, at most. Default: shap 300 for one model, 200 for "
    "five; ig 24 and 16, each with the gradients of all labels.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample and of ties.")
@click.option("--name", help="Of the files. Default: texts, the split, or global-<split>.")
@click.option("--figures/--no-figures", default=True, help="A bar figure per text and label.")
def explain(run_path: Path, **given: Any) -> None:
    """Show which tokens push which label: a page, bar figures, and a global view.

    Writes into explain/ in the run's folder. Contributions are in units of probability and add up
    to it, from the base on, which is the probability when every token is masked.
    """
    import numpy as np

    from semeval_kit.cli.predict import find_rows
    from semeval_kit.errors import KitError
    from semeval_kit.run.members import check_language, load_models
    from semeval_kit.show.explain.attributions import import_method, name_mask
    from semeval_kit.show.explain.page import Heading

    began, laps = time.monotonic(), dict[str, float]()
    run = open_run(run_path, given["data"])
    if run.member != "encoder":
        raise KitError(
            f"{run.path}: its member is {run.member}, which has no tokens to hide. "
            "Explain the encoder's run instead."
        )
    if run.task.data.has_pairs or run.task.data.context:
        raise KitError(
            f"{run.path}: its task reads pairs or contexts, whose tokens explain cannot hide yet. "
            "`semeval-kit predict` takes them."
        )
    language = check_language(run, given["language"], say) if given["language"] else ""
    rows, name = find_rows(run, given, language)
    import_method(given["method"])
    models = load_models(run, given["fold"], say)
    laps["loading"] = time.monotonic()
    mask = name_mask(models.models[0].tokenizer)
    heading = Heading(run.name, run.task.title, models.words, given["method"], given["seed"], mask)
    for path in _write(run, models, rows, heading, {**given, "name": name}, laps):
        click.echo(path)
    lasted = np.diff([began, *laps.values()])
    told = (f"{what} {seconds:.1f} s" for what, seconds in zip(laps, lasted, strict=True))
    say(f"{count_noun(len(rows), 'text')}, {models.words}: {', '.join(told)}")


def _write(
    run: Run,
    models: RunModels,
    rows: Sequence[Row],
    heading: Heading,
    given: dict[str, Any],
    laps: dict[str, float],
) -> list[Path]:
    """Write the files; `laps` keeps when each part of the work was done."""
    from semeval_kit.show.explain.files import check_name, write_global, write_sentences

    check_name(given["name"])
    names, attributions = models.target_names, _attribute(models, rows, given)
    if given["sample"]:
        paths = write_global(run.explain_dir, given["name"], attributions, names, heading)
        laps["explaining and writing"] = time.monotonic()
        return paths
    explanations = [
        _explain_row(models, row, attribution)
        for row, attribution in zip(rows, attributions, strict=True)
    ]
    laps["explaining"] = time.monotonic()
    total = len(explanations) * len(names) if given["figures"] else 0
    with _progress(total, "figure", shown=total > len(names)) as bar:
        paths = write_sentences(
            run.explain_dir,
            given["name"],
            explanations,
            heading,
            figures=given["figures"],
            on_figure=bar.update,
        )
    laps["page and figures" if total else "page"] = time.monotonic()
    return paths


def _attribute(
    models: RunModels, rows: Sequence[Row], given: dict[str, Any]
) -> Iterator[Attribution]:
    from semeval_kit.show.explain.attributions import count_evals, explain_texts

    n_models = len(models.models)
    per_text = n_models * count_evals(given["method"], n_models, given["max_evals"])
    total = len(rows) * per_text
    with _progress(total, "eval", shown=True) as bar:
        attributions = explain_texts(
            models.models,
            [text for _, text, _ in rows],
            method=given["method"],
            max_length=int(models.run.recipe["max_length"]),
            max_evals=given["max_evals"],
            seed=given["seed"],
            on_evals=lambda evals: bar.update(min(evals, total - bar.n)),
        )
        for number, attribution in enumerate(attributions, start=1):
            # A short text needs fewer evaluations than it may have.
            bar.update(number * per_text - bar.n)
            yield attribution


def _explain_row(models: RunModels, row: Row, attribution: Attribution) -> Explanation:
    from semeval_kit.show.explain.page import Explanation
    from semeval_kit.show.predictions import Vocabulary

    task = models.run.task
    name, _, language = row
    preds = models.decide(attribution.probs[None], language)[0]
    vocabulary = Vocabulary(task.kind, models.target_names, task.all_labels)
    return Explanation(
        name=name,
        attribution=attribution,
        target_names=models.target_names,
        thresholds=models.cuts(language),
        answer=tuple(vocabulary.name_labels(preds)),
    )


def _progress(total: int, unit: str, *, shown: bool) -> tqdm[Any]:
    from tqdm import tqdm

    return tqdm(
        total=total,
        unit=unit,
        file=sys.stderr,
        disable=not shown,
        leave=False,
        dynamic_ncols=True,
        desc="explain" if unit == "eval" else "figures",
    )
