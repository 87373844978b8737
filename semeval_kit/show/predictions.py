"""Predictions: texts with their labels and probabilities, spelled as a table, CSV or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray
from semeval_kit.show.tabulate import show_controls, spell_csv
from semeval_kit.task.metric_facts import NUMERIC

FORMATS = ("table", "csv", "jsonl")


@dataclass(frozen=True)
class Prediction:
    """One text with what the run says of it.

    Attributes:
        name: the row's id, or its line number.
        probs: `(C,)`; None for a text without a word.
        preds: `(L,)` numbers, or levels (0 or 1 but for intensities); None for a blank text.
    """

    name: str
    text: str
    probs: FloatArray | None
    preds: FloatArray | IntArray | None


@dataclass(frozen=True)
class Vocabulary:
    """The words in which predictions are told.

    Attributes:
        kind: of the task's first target.
        target_names: the C columns of probabilities.
        label_names: the L columns of predictions.
    """

    kind: str
    target_names: tuple[str, ...]
    label_names: tuple[str, ...]

    @property
    def numeric(self) -> bool:
        """Whether the answers are numbers."""
        return self.kind in NUMERIC

    @property
    def graded(self) -> bool:
        """Whether the answers are levels."""
        return self.kind == "intensity"

    def list_answers(self, preds: FloatArray | IntArray) -> dict[str, float]:
        """The labels of one text with their levels, or all numbers by name."""
        pairs = zip(self.label_names, preds.tolist(), strict=True)
        return {name: value for name, value in pairs if self.numeric or value > 0}

    def name_labels(self, preds: FloatArray | IntArray) -> list[str]:
        """The labels of one text; with its level or number where there is one, as `anger=2`."""
        answers = self.list_answers(preds)
        if self.numeric or self.graded:
            return [f"{name}={value:.6g}" for name, value in answers.items()]
        return list(answers)


def predict_items(
    items: Iterable[tuple[str, str]],
    probs_of: Callable[[list[str]], FloatArray],
    decide: Callable[[FloatArray], FloatArray | IntArray],
    batch_size: int = 64,
) -> Iterator[Prediction]:
    """Predict texts as they come, batch by batch, in their order.

    Blank texts get no answer. Items are (name, text) pairs; `batch_size` of them are read before
    the first is answered.
    """
    source = iter(items)
    while batch := list(islice(source, batch_size)):
        worded = [text for _, text in batch if text.strip()]
        probs = probs_of(worded) if worded else np.empty((0, 0))
        answers = iter(zip(probs, decide(probs), strict=True) if worded else ())
        for name, text in batch:
            yield Prediction(name, text, *(next(answers) if text.strip() else (None, None)))


def spell_predictions(
    predictions: Iterable[Prediction], format_: str, vocabulary: Vocabulary, width: int = 100
) -> Iterator[str]:
    """Spell predictions line by line, the header first.

    Texts stay as they are in `jsonl`. In `csv`, which people open in spreadsheets, cells that would
    be formulas get an apostrophe; in `table`, control characters are named and long texts cut.
    `width` is how many columns the terminal has, for `table`.
    """
    if format_ == "jsonl":
        yield from (_spell_json(prediction, vocabulary) for prediction in predictions)
    elif format_ == "csv":
        header = ["id", "text", "labels", *vocabulary.target_names]
        yield spell_csv(header, []).removesuffix("\n")
        yield from (_spell_row(prediction, vocabulary) for prediction in predictions)
    else:
        yield from _spell_table(predictions, vocabulary, width)


def _spell_json(prediction: Prediction, vocabulary: Vocabulary) -> str:
    labels: dict[str, float] | list[str] | None = None
    probs = None
    if prediction.probs is not None and prediction.preds is not None:
        answers = vocabulary.list_answers(prediction.preds)
        valued = vocabulary.numeric or vocabulary.graded
        labels = {name: round(value, 6) for name, value in answers.items()}
        labels = labels if valued else list(labels)
        pairs = zip(vocabulary.target_names, prediction.probs.tolist(), strict=True)
        probs = {name: round(value, 6) for name, value in pairs}
    row = {"id": prediction.name, "text": prediction.text, "labels": labels, "probs": probs}
    # Line ends that are not ASCII end a line for some readers.
    line = json.dumps(row, ensure_ascii=False)
    return line.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")


def _spell_row(prediction: Prediction, vocabulary: Vocabulary) -> str:
    cells = [""] * (1 + len(vocabulary.target_names))
    if prediction.probs is not None and prediction.preds is not None:
        labels = "|".join(vocabulary.name_labels(prediction.preds))
        cells = [labels, *(f"{value:.6f}" for value in prediction.probs)]
    return spell_csv([prediction.name, prediction.text, *cells], []).removesuffix("\n")


def _spell_table(
    predictions: Iterable[Prediction], vocabulary: Vocabulary, width: int
) -> Iterator[str]:
    """A column per label with its probability, starred where the label is given; the text last.

    For intensities each column has the level and the probability of level 1 or more, for numbers
    the number.
    """
    names = vocabulary.label_names
    step = len(vocabulary.target_names) // len(names)
    widths = [max(len(name), 7 if vocabulary.graded else 6) for name in names]
    room = max(20, width - sum(widths) - 2 * len(widths))
    yield "  ".join([*(n.rjust(w) for n, w in zip(names, widths, strict=True)), "text"])
    for prediction in predictions:
        cells = ["\u2013"] * len(names)
        if prediction.probs is not None and prediction.preds is not None:
            pairs = zip(prediction.probs[::step], prediction.preds.tolist(), strict=True)
            cells = [_spell_cell(*pair, vocabulary) for pair in pairs]
        text = fit_text(show_controls(prediction.text), room) or "(empty)"
        yield "  ".join([*(c.rjust(w) for c, w in zip(cells, widths, strict=True)), text])


def _spell_cell(prob: float, value: float, vocabulary: Vocabulary) -> str:
    if vocabulary.numeric:
        return f"{value:.3f} "
    return f"{value} {prob:.3f}" if vocabulary.graded else f"{prob:.3f}{'*' if value else ' '}"


def fit_text(text: str, width: int) -> str:
    """Cut a text to the columns of a terminal, in which Chinese and Japanese signs take two."""
    from rich.cells import cell_len, set_cell_size

    fits = cell_len(text) <= width
    return text if fits else f"{set_cell_size(text, width - 1).rstrip()}\u2026"
