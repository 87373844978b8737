"""All pictures of a run: which ones suit it, drawn one after the other and written as files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semeval_kit.data.examples import Examples, find_file
from semeval_kit.data.texts import whole_texts
from semeval_kit.decision.oof import FloatArray, split_languages
from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import (
    ANSWERED,
    Answers,
    AnswersBySplit,
    narrow_examples,
    read_answers,
    read_rule,
    shown_task,
)
from semeval_kit.show.compare import find_before, read_before, score_axes
from semeval_kit.show.figures.charts import (
    FORMATS,
    MOST_NUMBERED,
    draw_matrix,
    draw_pairs,
    embed_figure,
    save_figure,
)
from semeval_kit.show.figures.data import (
    count_tokens,
    draw_label_distribution,
    draw_level_distribution,
    draw_text_lengths,
    share_cooccurrence,
)
from semeval_kit.show.figures.decision import (
    draw_calibration,
    draw_confusions,
    draw_f1_thresholds,
    draw_scatter,
    share_class_confusion,
    share_cooccurrence_confusion,
)
from semeval_kit.show.figures.training import draw_radar, draw_training
from semeval_kit.show.results import find_history_metric
from semeval_kit.show.wording import find_wording, name_measure
from semeval_kit.task.codec import encode_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure with what belongs beside it.

    Attributes:
        name: a file name without ending.
        title: what it is, in a few words.
        caption: how to read it, in a sentence or two.
    """

    name: str
    title: str
    caption: str
    figure: Figure

    def _repr_html_(self) -> str:
        image = embed_figure(self.figure, self.name)
        ground = "background:#fff;max-width:100%"
        return (
            f'<figure><img alt="{self.title}" src="{image["src"]}" style="{ground}">'
            f"<figcaption>{self.caption}</figcaption></figure>"
        )


def write_figures(
    run: Run, before: Run | None = None, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Draw every picture that suits the run and write it to its folder of figures.

    Pictures whose stage has not run are left out. `before` is the same encoder without fine-tuning,
    for the radar chart; by default that inside the run, if there is one.

    Raises:
        KitError: `before` does not fit, a format is unknown, or matplotlib is missing.
    """
    answers = read_all_answers(run)
    return [
        path
        for picture in draw_figures(run, run.read_train(), answers, before or find_before(run))
        for path in save_figure(picture.figure, run.figures_dir, picture.name, formats)
    ]


def read_all_answers(run: Run) -> dict[str, Answers | None]:
    """What the run answered per split; None where a stage has not run or gold is not known."""
    trained = all(run.is_done(model) for model in range(run.n_models))
    if not trained or not run.thresholds_file.is_file():
        return dict.fromkeys(ANSWERED)
    by_split = {split: read_answers(run, split) for split in ANSWERED}
    # Labels that are all blank say nothing.
    return {
        split: None if answers is None or np.isnan(answers.gold).all() else answers
        for split, answers in by_split.items()
    }


def draw_figures(
    run: Run, train: Examples, answers: AnswersBySplit, before: Run | None = None
) -> Iterator[Picture]:
    """Draw the pictures that suit the run, one at a time; none that would be empty.

    Raises:
        KitError: `before` does not fit, or matplotlib is missing.
    """
    oof, earlier = answers.get("oof"), None
    if before is not None:  # what does not fit is told before anything is drawn
        if oof is None:
            raise KitError(
                f"{run.path}: nothing to compare with {before.name} yet; train this run first."
            )
        earlier = read_before(run, oof, before)
    train = narrow_examples(run, train)
    yield from _draw_data(run, train, answers)
    yield from _draw_training(run)
    if oof is not None:
        yield from _draw_decisions(run, oof)
        yield from _draw_mistakes(run, oof)
    if oof is not None and earlier is not None:
        clipped = " (below 0 shown at 0)" if run.task.kind == "intensity" else ""
        scores = score_axes(run, oof), score_axes(run, earlier)
        yield Picture(
            "before-after",
            "Before and after fine-tuning",
            f"{find_wording(run.task).compared}{clipped}, on out-of-fold rows, 0 in the centre to "
            f"1 at the rim: {run.recipe['encoder']} as it came, with an untrained head, and "
            "fine-tuned.",
            draw_radar(*scores, ("fine-tuned", "before fine-tuning")),
        )


def _draw_data(run: Run, train: Examples, answers: AnswersBySplit) -> Iterator[Picture]:
    task = shown_task(run)
    if find_wording(task).numeric:
        yield _draw_lengths(run, train)
        return
    used = np.flatnonzero(~np.isnan(train.labels).all(axis=0))
    labels = [task.all_labels[column] for column in used]
    gold = {"train": train.labels[:, used]}
    for split in ("dev", "test"):
        answered = answers.get(split)
        if answered is not None and split not in run.settings["train_splits"]:
            gold[split] = answered.gold[:, used]
    yield Picture(
        "label-distribution",
        "Label distribution",
        "Share of the annotated examples that have a label. Unlabelled splits are not shown.",
        draw_label_distribution(labels, gold),
    )
    if task.max_value > 1:
        yield Picture(
            "level-distribution",
            "Intensity levels",
            "Share of the annotated training examples at each level; the rest is at level 0.",
            draw_level_distribution(labels, gold["train"], task.max_value),
        )
    shares, counts = share_cooccurrence(gold["train"])
    if (gold["train"] > 0).sum(axis=1).max(initial=0) > 1:
        yield from _draw_square(
            "label-cooccurrence",
            "Label co-occurrence",
            "Of the training examples with the label of the row, the percentage that also has "
            "the label of the column; in brackets, how many there are.",
            ("with the label (n)", "also with the label (%)"),
            (shares, labels, counts),
        )
    rows_of = split_languages(train.languages)
    if len(rows_of) > 1:
        yield _draw_languages({code: gold["train"][rows] for code, rows in rows_of.items()}, labels)
    yield _draw_lengths(run, train)


def _draw_languages(gold: Mapping[str, FloatArray], labels: Sequence[str]) -> Picture:
    """How frequent each label is in each language, of its labels `(n, L)`."""
    table = []
    for cells in gold.values():
        annotated = (~np.isnan(cells)).sum(axis=0)
        present = (cells > 0).sum(axis=0)
        table.append(np.where(annotated > 0, present / np.maximum(annotated, 1), np.nan))
    titles = ("language", "examples with the label (% of annotated)")
    return Picture(
        "language-labels",
        "Labels per language",
        "Share of a language's training examples that have a label; a dash where the language "
        "is not annotated for it.",
        draw_matrix(np.array(table), list(gold), labels, titles),
    )


def _draw_square(
    name: str,
    title: str,
    caption: str,
    axes: tuple[str, str],
    cells: tuple[FloatArray, Sequence[str], FloatArray],
) -> Iterator[Picture]:
    """A matrix of labels; where it has no room for its numbers, the most frequent pairs too.

    Cells are shares `(L, L)`, the names of the labels, and how many examples have each.
    """
    shares, labels, counts = cells
    yield Picture(name, title, caption, draw_matrix(shares, labels, labels, axes, counts))
    if len(labels) > MOST_NUMBERED:
        yield Picture(
            f"{name}-pairs",
            f"{title}: most frequent pairs",
            "The cells beside the diagonal of the matrix above that stand for most examples: how "
            "many, and which percentage of those with the first label.",
            draw_pairs(shares, labels, counts, "examples"),
        )


def _draw_lengths(run: Run, train: Examples) -> Picture:
    texts = {"train": whole_texts(train)}
    for split in ("dev", "test"):
        files = [find_file(run.task, run.data, split, code) for code in run.languages]
        if all(files) and split not in run.settings["train_splits"]:
            texts[split] = whole_texts(run.read_split(split))
    tokenizer = run.model_dir(0) / "tokenizer.json"
    if not tokenizer.is_file():
        return Picture(
            "text-lengths",
            "Text lengths",
            "Length of the texts in characters; dashed lines are medians. The longest 1% is cut "
            "off.",
            draw_text_lengths(
                {split: [len(text) for text in rows] for split, rows in texts.items()}
            ),
        )
    lengths = {split: count_tokens(tokenizer, rows) for split, rows in texts.items()}
    limit = int(run.recipe["max_length"])
    pooled = np.concatenate([np.array(counts) for counts in lengths.values()])
    cut = 100 * float((pooled > limit).mean())
    return Picture(
        "text-lengths",
        "Text lengths",
        "Length of the texts in tokens of the encoder; dashed lines are medians. The longest 1% is "
        f"cut off. The model reads {limit} tokens of a text: {cut:.1f}% of the texts are longer.",
        draw_text_lengths(lengths, "tokens", limit),
    )


def _draw_training(run: Run) -> Iterator[Picture]:
    histories = [run.read_history(model) for model in range(run.n_models)]
    if not any(histories):
        return
    best = [
        int(run.read_done(model).get("best_epoch", 0)) if run.is_done(model) else 0
        for model in range(run.n_models)
    ]
    task, metric = shown_task(run), find_history_metric(run.task, histories)
    thin = "folds" if run.n_models == run.n_folds else "models, one per fold and seed"
    folds = f"Thin lines are {thin}, thick lines their mean. " if run.n_models > 1 else ""
    yield Picture(
        "training",
        "Training",
        f"Loss and {name_measure(metric, task.kind)} after each epoch; for validation on the rows "
        f"held out, {find_wording(task).untuned}. {folds}Rings mark the epoch that was kept.",
        draw_training(histories, best, metric, task.kind),
    )


def _draw_decisions(run: Run, oof: Answers) -> Iterator[Picture]:
    task = shown_task(run)
    if find_wording(task).numeric:
        return
    targets = encode_labels(task, oof.gold)
    # A target that no row has leaves its panel empty.
    used = np.flatnonzero((targets > 0).any(axis=0))
    names = [oof.probs.target_names[column] for column in used]
    probs = oof.probs.values[:, used]
    if len(used) and find_wording(task).tuned:
        thresholds = read_rule(run)
        languages = sorted(set(oof.probs.languages))
        alone = len(languages) == 1
        cuts = thresholds.rows(languages)[0] if alone else thresholds.joint
        where = ", its number stands beside the name." if alone else " over all languages."
        yield Picture(
            "f1-thresholds",
            "F1 against threshold",
            "F1 of each target on the out-of-fold rows at every threshold, with a 95% bootstrap "
            f"band. The vertical line is the chosen threshold{where} The F1 there is optimistic: "
            "these rows chose it.",
            draw_f1_thresholds(names, probs, targets[:, used], cuts[used], groups=oof.groups),
        )
    if len(used):
        yield Picture(
            "calibration",
            "Calibration",
            "Share of positives against mean probability, in bins of equally many out-of-fold "
            "rows, with 95% intervals. Below the diagonal the model is too sure. ECE is the mean "
            "distance from the diagonal.",
            draw_calibration(names, probs, targets[:, used]),
        )


def _draw_mistakes(run: Run, oof: Answers) -> Iterator[Picture]:
    task = shown_task(run)
    used = np.flatnonzero(~np.isnan(oof.gold).all(axis=0))
    labels = [task.all_labels[column] for column in used]
    gold, preds = oof.gold[:, used], oof.tuned[:, used]
    if find_wording(task).numeric:
        yield Picture(
            "predicted-gold",
            "Predicted against gold",
            "Out-of-fold examples, one dot each; on the dashed line both are the same.",
            draw_scatter(labels, gold, preds.astype(np.float64)),
        )
        return
    if task.kind == "singlelabel":
        annotated = ~np.isnan(gold).all(axis=1)
        classes = np.nan_to_num(gold[annotated]).argmax(axis=1), preds[annotated].argmax(axis=1)
        shares, counts = share_class_confusion(*classes, len(labels))
        yield from _draw_square(
            "confusion",
            "Confusion matrix",
            "Of the out-of-fold examples of each gold class, the percentage predicted as the "
            "class of the column; in brackets, how many there are.",
            ("gold (n)", "predicted (%)"),
            (shares, labels, counts),
        )
        return
    n_levels = task.max_value
    yield Picture(
        "confusion",
        "Confusion matrices" if n_levels == 1 else "Predicted against gold levels",
        "Out-of-fold examples by gold and predicted value of each label: count, and percentage of "
        "the row. Thresholds are cross-fitted, so no row helped to choose its own.",
        draw_confusions(labels, gold, preds, n_levels),
    )
    if n_levels == 1:
        shares, counts = share_cooccurrence_confusion(gold, preds)
        yield from _draw_square(
            "cooccurrence-confusion",
            "Co-occurrence confusion",
            "Of the out-of-fold examples with the gold label of the row, the percentage for "
            "which the label of the column was predicted. The diagonal is recall; “none” "
            "stands for examples without any label.",
            ("gold label (n)", "also predicted (%)"),
            (shares, [*labels, "none"], counts),
        )
