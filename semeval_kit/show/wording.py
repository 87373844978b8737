"""How pages speak: names of measures and splits, and the words of each kind of task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semeval_kit.task.task import Task

SPLIT_TITLES = {"oof": "out of fold", "dev": "dev", "test": "test"}
# What runs that are compared can be sorted by, and whether larger values come first.
SORTS = {
    "score": True,
    "run": False,
    "encoder": False,
    "parameters": True,
    "train_loss": False,
    "val_loss": False,
    "seconds": False,
    "peak_rss_mb": False,
}
_MEASURES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "weighted_f1": "weighted F1",
    "weighted_precision": "weighted P",
    "weighted_recall": "weighted R",
    "macro_auc": "macro AUC",
    "accuracy": "accuracy",
    "subset_accuracy": "subset acc.",
    "jaccard": "Jaccard",
    "pearson_r": "Pearson r",
    "pearson": "Pearson r",
    "spearman": "Spearman rho",
    "rmse": "RMSE",
    "mae": "MAE",
    "within_sd": "accuracy within sd",
    "sd_spearman": "rho of group sds",
    "jensen_shannon": "Jensen-Shannon div.",
    "exact_match": "exact match",
    "soft_cons": "soft consistency",
    "hard_cons": "hard consistency",
}


@dataclass(frozen=True)
class Wording:
    """What differs between the kinds of task.

    Attributes:
        measures: metrics that pages show, the headline metric apart.
        label_score: name of the score of a single label.
        label_metric: the same as metrics are spelled.
        tuned: whether thresholds are tuned, so that there is something to cross-fit.
        untuned: name of the rule that needs no tuning.
        decision: how the answers are decided, as a sentence of a paper.
        compared: what "before and after fine-tuning" compares.
        axes: the measures that it compares, with their names there; none: the labels' scores.
        numeric: answers are numbers, so that nothing is positive.
        answer: what one column of the answers is called.
        outputs: what models give for it.
    """

    measures: tuple[str, ...]
    label_score: str
    label_metric: str
    tuned: bool
    untuned: str
    decision: str
    compared: str
    axes: tuple[tuple[str, str], ...] = ()
    numeric: bool = False
    answer: str = "label"
    outputs: str = "probabilities"


_NUMBERS = Wording(
    measures=("spearman", "pearson", "rmse", "mae"),
    label_score="RMSE",
    label_metric="rmse",
    tuned=False,
    untuned="as predicted",
    decision="The mean of the models' numbers is predicted.",
    compared="RMSE per number",
    numeric=True,
    answer="number",
    outputs="numbers",
)
_WORDINGS = {
    "multilabel": Wording(
        measures=("macro_f1", "micro_f1", "accuracy", "jaccard"),
        label_score="F1",
        label_metric="macro_f1",
        tuned=True,
        untuned="at 0.5",
        decision=(
            "One threshold per label is tuned on out-of-fold probabilities for macro-F1: the exact "
            "optimum, the median over bootstraps, shrunk toward one global threshold where "
            "positives are few."
        ),
        compared="F1 per label with cross-fitted thresholds",
    ),
    "intensity": Wording(
        measures=("pearson_r",),
        label_score="r",
        label_metric="pearson_r",
        tuned=True,
        untuned="at 0.5",
        decision=(
            "Each level of each label is an event of its own; levels are decided on out-of-fold "
            "probabilities for the highest mean Pearson r."
        ),
        compared="Pearson r per label, cross-fitted",
    ),
    "singlelabel": Wording(
        measures=(
            "accuracy",
            "weighted_precision",
            "weighted_recall",
            "weighted_f1",
            "macro_f1",
            "macro_auc",
        ),
        label_score="F1",
        label_metric="macro_f1",
        tuned=False,
        untuned="argmax",
        decision="The label with the highest probability is predicted.",
        compared="Measures over all classes",
        axes=(
            ("accuracy", "accuracy"),
            ("weighted_precision", "precision"),
            ("weighted_recall", "recall"),
            ("weighted_f1", "F1"),
            ("macro_auc", "AUC"),
        ),
    ),
    "regression": _NUMBERS,
    "distribution": replace(
        _NUMBERS,
        measures=("jensen_shannon", "rmse", "mae"),
        decision="The mean of the models' shares is predicted, made to sum to 1.",
        compared="RMSE per share",
        answer="share",
        outputs="shares",
    ),
}
TUNED_RULES = {
    "offsets": "An offset per label, tuned on out-of-fold probabilities and shrunk toward a common "
    "one, is added to its log-probability; the label with the highest sum is predicted.",
    "line": "The mean of the models' numbers is predicted, moved by a slope and an intercept that "
    "are tuned on out-of-fold rows for the task's metric.",
}
"""How answers are decided by the rules that are tuned only where that gains something."""


def find_wording(task: Task) -> Wording:
    """The words for a task's kind."""
    return _WORDINGS[task.kind]


def name_measure(name: str, kind: str) -> str:
    """A metric's name for people: "accuracy" of several labels is subset accuracy."""
    if name == "accuracy" and kind == "multilabel":
        return _MEASURES["subset_accuracy"]
    if name == "subset_accuracy" and kind == "singlelabel":
        return _MEASURES["accuracy"]
    return _MEASURES.get(name, name)


def describe_member(member: str, encoder: str, members: Sequence[str] = ()) -> str:
    """What gives a run's answers, by its kind of member and what its recipe names."""
    return {
        "encoder": f"encoder {encoder}",
        "linear": f"n-grams and a regression ({encoder})",
        "frozen": f"untrained features of {encoder.removeprefix('frozen:')} and a regression",
        "external": "answers from files",
        "blend": f"blend of {', '.join(members)}",
    }[member]


def name_pooling(pooling: str) -> str:
    """What a head reads, as a recipe spells it, in words."""
    both = "mean pooling of the last and the middle layer"
    return both if pooling == "layers" else f"{pooling} pooling"


def name_encoder(encoder: str) -> str:
    """An encoder's name without its owner, or the last part of its folder."""
    if encoder == "embedded":
        return "all-MiniLM-L6-v2"
    return encoder.rstrip("/").rpartition("/")[2]
