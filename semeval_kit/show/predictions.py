"""Predictions: texts with their labels and probabilities, spelled as a table, CSV or JSON lines."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from semeval_kit.show.tabulate import show_controls, spell_csv
from semeval_kit.task.metric_facts import NUMERIC

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
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
    probs: Floats | None
    preds: Floats | Ints | None


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

    def name_labels(self, preds: Floats | Ints) -> list[str]:
        """The labels of one text; with its level or number where there is one, as `anger=2`."""
        if self.numeric:
            pairs = zip(self.label_names, preds, strict=True)
            return [f"{name}={value:.6g}" for name, value in pairs]
        chosen = [(n, int(p)) for n, p in zip(self.label_names, preds, strict=True) if p > 0]
        if self.kind == "intensity":
            return [f"{name}={level}" for name, level in chosen]
        return [name for name, _ in chosen]


def predict_items(
    items: Iterable[tuple[str, str]],
    probs_of: Callable[[list[str]], Floats],
    decide: Callable[[Floats], Floats | Ints],
    batch_size: int = 64,
) -> Iterator[Prediction]:
    """Predict texts as they come, batch by batch, in their order.

    Blank texts get no answer. Items are (name, text) pairs; `batch_size` of them are read before
    the first is answered.
    """
    source = iter(items)
    while batch := list(islice(source, batch_size)):
        worded = [row for row, (_, text) in enumerate(batch) if text.strip()]
        probs = probs_of([batch[row][1] for row in worded]) if worded else np.empty((0, 0))
        preds = decide(probs) if worded else np.empty((0, 0), dtype=np.int64)
        place_of = {row: place for place, row in enumerate(worded)}
        for row, (name, text) in enumerate(batch):
            place = place_of.get(row)
            if place is None:
                yield Prediction(name, text, None, None)
            else:
                yield Prediction(name, text, probs[place], preds[place])


def spell_predictions(
    predictions: Iterable[Prediction], format_: str, vocabulary: Vocabulary, width: int = 100
) -> Iterator[str]:
    """Spell predictions line by line, the header first.

    Texts stay as they are in `jsonl`. In `csv`, which people open in spreadsheets, cells that would
    be formulas get an apostrophe; in `table`, control characters are named and long texts cut.

    Args:
        predictions: in order.
        format_: table, csv or jsonl.
        vocabulary: names of targets and labels.
        width: columns of the terminal, for `table`.
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
    row: dict[str, object] = {"id": prediction.name, "text": prediction.text}
    if prediction.probs is None or prediction.preds is None:
        row |= {"labels": None, "probs": None}
    else:
        chosen = prediction.preds
        if vocabulary.kind == "intensity":
            names = vocabulary.label_names
            row["labels"] = {n: int(p) for n, p in zip(names, chosen, strict=True) if p > 0}
        elif vocabulary.numeric:
            numbers = zip(vocabulary.label_names, chosen, strict=True)
            row["labels"] = {name: round(float(value), 6) for name, value in numbers}
        else:
            row["labels"] = vocabulary.name_labels(chosen)
        pairs = zip(vocabulary.target_names, prediction.probs, strict=True)
        row["probs"] = {name: round(float(value), 6) for name, value in pairs}
    # Line ends that are not ASCII end a line for some readers.
    line = json.dumps(row, ensure_ascii=False)
    return line.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")


def _spell_row(prediction: Prediction, vocabulary: Vocabulary) -> str:
    cells = [prediction.name, prediction.text]
    if prediction.probs is None or prediction.preds is None:
        cells += [""] * (1 + len(vocabulary.target_names))
    else:
        cells.append("|".join(vocabulary.name_labels(prediction.preds)))
        cells += [f"{value:.6f}" for value in prediction.probs]
    return spell_csv(cells, []).removesuffix("\n")


def _spell_table(
    predictions: Iterable[Prediction], vocabulary: Vocabulary, width: int
) -> Iterator[str]:
    """A column per label with its probability, starred where the label is given; the text last.

    For intensities each column has the level and the probability of level 1 or more, for numbers
    the number.
    """
    names = vocabulary.label_names
    step = len(vocabulary.target_names) // len(names)
    graded = vocabulary.kind == "intensity"
    widths = [max(len(name), 7 if graded else 6) for name in names]
    room = max(20, width - sum(widths) - 2 * len(widths))
    yield "  ".join([*(n.rjust(w) for n, w in zip(names, widths, strict=True)), "text"])
    for prediction in predictions:
        cells = ["\u2013"] * len(names)
        if prediction.probs is not None and prediction.preds is not None:
            shown = [f"{value:.3f}" for value in prediction.probs[::step]]
            levels = prediction.preds.tolist()
            if vocabulary.numeric:
                shown = [f"{number:.3f}" for number in levels]
            cells = [
                f"{level} {prob}"
                if graded
                else prob + ("*" if level and not vocabulary.numeric else " ")
                for prob, level in zip(shown, levels, strict=True)
            ]
        text = fit_text(show_controls(prediction.text), room) or "(empty)"
        yield "  ".join([*(c.rjust(w) for c, w in zip(cells, widths, strict=True)), text])


def fit_text(text: str, width: int) -> str:
    """Cut a text to the columns of a terminal, in which Chinese and Japanese signs take two."""
    taken = 0
    for place, sign in enumerate(text):
        size = 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        if taken + size > width - 1 and (place < len(text) - 1 or taken + size > width):
            return f"{text[:place].rstrip()}\u2026"
        taken += size
    return text
