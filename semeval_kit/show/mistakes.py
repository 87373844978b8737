"""Where a run goes wrong: the rows that cost most, and right and wrong answers per label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.oof import FloatArray
from semeval_kit.show.answers import Answers
from semeval_kit.show.tabulate import Table, shorten
from semeval_kit.show.wording import SPLIT_TITLES, find_wording
from semeval_kit.submission.metrics import count_labels
from semeval_kit.task.codec import encode_labels
from semeval_kit.task.task import Task

_CLIP = 1e-7  # a prob of 0 or 1 would cost infinitely much
_TEXT_LENGTH = 180
_N_EXAMPLES = 5


@dataclass(frozen=True)
class Mistake:
    """An example that was answered wrongly.

    Attributes:
        pair: the second text; empty where the task reads one.
    """

    id: str
    language: str
    text: str
    pair: str


@dataclass(frozen=True)
class HardExample(Mistake):
    """An example that the model gets wrong as a whole.

    Attributes:
        gold: its labels in words, such as "anger, fear" or "anger 2".
        pred: the decided labels in words.
        loss: mean over annotated targets of the cross-entropy, in nats.
    """

    gold: str
    pred: str
    loss: float


@dataclass(frozen=True)
class WrongAnswer(Mistake):
    """One target of an example, answered with much confidence and wrongly.

    Attributes:
        target: a label, or an event such as "anger>=2".
        is_gold: whether the example has it.
        prob: what the model gives it.
    """

    target: str
    is_gold: bool
    prob: float


def measure_losses(task: Task, answers: Answers) -> FloatArray:
    """Cross-entropy of every example, `(n,)`, in nats: mean over its annotated targets.

    For single-label tasks it is that of the gold class; for numbers the mean squared error. NaN for
    an example without annotation.
    """
    targets = encode_labels(task, answers.gold)
    if find_wording(task).numeric:
        squares: FloatArray = np.nanmean((answers.tuned - answers.gold) ** 2, axis=1)
        return squares
    probs = np.clip(answers.probs.values, _CLIP, 1 - _CLIP)
    if task.kind == "singlelabel":
        annotated = ~np.isnan(targets).all(axis=1)
        likelihoods = np.where(np.nan_to_num(targets) > 0, np.log(probs), 0.0).sum(axis=1)
        return np.where(annotated, -likelihoods, np.nan)
    cells = -(targets * np.log(probs) + (1 - targets) * np.log(1 - probs))
    n_known = (~np.isnan(cells)).sum(axis=1)
    return np.where(n_known > 0, np.nansum(cells, axis=1) / np.maximum(n_known, 1), np.nan)


def find_hardest(task: Task, answers: Answers, n: int = 10) -> list[HardExample]:
    """Wrongly answered examples with the highest loss, worst first; of copies only the worst."""
    losses = measure_losses(task, answers)
    is_wrong = np.any(_find_errors(answers), axis=1)
    worst_first = np.argsort(-np.nan_to_num(losses, nan=-1.0), kind="stable")
    rows = _take_one_per_text(answers, [row for row in worst_first if is_wrong[row]])
    return [
        HardExample(
            *_identify(answers, row),
            name_labels(task, answers.gold[row]),
            name_labels(task, answers.tuned[row].astype(np.float64)),
            float(losses[row]),
        )
        for row in rows[:n]
    ]


def find_wrong(task: Task, answers: Answers, n: int = 10) -> list[WrongAnswer]:
    """The targets with the largest distance of prob from gold, at most one per text.

    Only what is more than half wrong, and is answered wrongly by the tuned rule, too. For
    single-label tasks the classes that are not gold but have the highest prob. None for numbers.
    """
    if find_wording(task).numeric:
        return []
    targets = encode_labels(task, answers.gold)
    distance = np.abs(targets - answers.probs.values)
    errors = _find_errors(answers)
    if task.kind == "singlelabel":
        distance[targets != 0] = np.nan
        distance[~errors.any(axis=1)] = np.nan
    else:  # of levels every event of a label
        distance[~np.repeat(errors, distance.shape[1] // errors.shape[1], axis=1)] = np.nan
    surest_first = np.argsort(-np.nan_to_num(distance, nan=-1.0), axis=None, kind="stable")
    width = distance.shape[1]
    column_of: dict[int, int] = {}
    for row, column in (divmod(int(cell), width) for cell in surest_first):
        if distance[row, column] > 0.5:
            column_of.setdefault(row, column)
    return [
        WrongAnswer(
            *_identify(answers, row),
            answers.probs.target_names[column_of[row]],
            bool(targets[row, column_of[row]] == 1),
            float(answers.probs.values[row, column_of[row]]),
        )
        for row in _take_one_per_text(answers, column_of)[:n]
    ]


def tabulate_confusion(task: Task, answers: Answers) -> Table:
    """Counts of right and wrong answers per label; no rows for intensities."""
    rows = []
    counts = (
        count_labels(answers.gold, answers.tuned)
        if task.max_value == 1 and not find_wording(task).numeric
        else ()
    )
    for column, count in enumerate(counts):
        n_known = int((~np.isnan(answers.gold[:, column])).sum())
        true_negatives = n_known - count.tp - count.fp - count.fn
        cells = (count.tp, count.fp, count.fn, true_negatives)
        rows.append((task.all_labels[column], *map(str, cells)))
    return Table(
        "confusion",
        f"Right and wrong answers per label, {SPLIT_TITLES[answers.split]}",
        ("label", "true pos.", "false pos.", "false neg.", "true neg."),
        tuple(rows),
    )


def tabulate_errors(task: Task, answers: Answers) -> list[Table]:
    """The examples that cost most, and the answers that were surest and wrong."""
    place = SPLIT_TITLES[answers.split]
    hardest = [
        (e.gold, e.pred, f"{e.loss:.2f}", _shorten_both(e))
        for e in find_hardest(task, answers, _N_EXAMPLES)
    ]
    wrong = [
        (w.target, "yes" if w.is_gold else "no", f"{w.prob:.2f}", _shorten_both(w))
        for w in find_wrong(task, answers, _N_EXAMPLES)
    ]
    widths = (0.17, 0.17, 0.08, 0.46)
    return [
        Table(
            "hardest", f"Examples with the highest loss, {place}",
            ("gold", "predicted", "loss", "text"), tuple(hardest), 4, widths,
        ),
        Table(
            "surest", f"Surest wrong answers, {place}",
            ("label", "gold", "prob", "text"), tuple(wrong), 4, widths,
        ),
    ]  # fmt: skip


def name_labels(task: Task, levels: FloatArray) -> str:
    """The labels of a row `(L,)` in words; a dash where there is none; numbers as they are."""
    if find_wording(task).numeric:
        pairs = zip(task.all_labels, levels, strict=True)
        return ", ".join(f"{label} {level:.3g}" for label, level in pairs)
    names = [
        f"{label} {int(level)}" if task.max_value > 1 else label
        for label, level in zip(task.all_labels, levels, strict=True)
        if level > 0
    ]
    return ", ".join(names) or "–"


def _find_errors(answers: Answers) -> NDArray[np.bool_]:
    """Which answers `(n, L)` differ from gold; those without gold do not."""
    wrong: NDArray[np.bool_] = ~np.isnan(answers.gold) & (answers.tuned != answers.gold)
    return wrong


def _identify(answers: Answers, row: int) -> tuple[str, str, str, str]:
    rows = answers.examples
    pair = rows.pairs[row] if rows.pairs else ""
    return rows.ids[row], rows.languages[row], rows.texts[row], pair


def _shorten_both(example: Mistake) -> str:
    texts = (text for text in (example.text, example.pair) if text)
    return " / ".join(shorten(text, _TEXT_LENGTH) for text in texts)


def _take_one_per_text(answers: Answers, rows: Iterable[int]) -> list[int]:
    """The rows in their order, of copies of a text only the first."""
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(answers.groups[row], row)
    return list(first.values())
