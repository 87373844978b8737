"""Metrics as a task file names them: which kinds they fit, which way is better, what they need.

The arithmetic is in `submission.metrics`, under the same names.
"""

from __future__ import annotations

from dataclasses import dataclass

_NAMED = ("multilabel", "singlelabel")
NUMERIC = ("regression", "distribution")
"""Kinds whose labels are real numbers."""
EXCLUSIVE = ("singlelabel", "distribution")
"""Kinds whose labels share one probability."""
_NUMBERS = ("intensity", "regression")


@dataclass(frozen=True)
class MetricFacts:
    """What a task file has to know about a metric.

    Attributes:
        kinds: of the targets that it can score.
        about: what it measures, in one sentence without a full stop.
        source: where its arithmetic comes from.
        low_is_better: an error or a divergence.
        needs: what it needs beside gold and answers: "" nothing, "probs" probabilities, "spread"
            the standard deviation of each row's ratings, "reverse" the row with the texts swapped,
            "groups" the values of the group key.
        lowest: its smallest value.
        highest: its largest value, None where there is none.
        scale_free: a rising line through all answers leaves it as it is.
    """

    kinds: tuple[str, ...]
    about: str
    source: str
    low_is_better: bool = False
    needs: str = ""
    lowest: float = 0.0
    highest: float | None = 1.0
    scale_free: bool = False


_TASK_11 = "SemEval-2025 Task 11"
METRIC_FACTS = {
    "macro_f1": MetricFacts(
        _NAMED,
        "the mean over labels of F1; a label that nobody has and nobody predicts counts 0",
        f"{_TASK_11}, tracks A and C",
    ),
    "micro_f1": MetricFacts(
        _NAMED, "F1 of the counts pooled over labels", f"{_TASK_11}, tracks A and C"
    ),
    "weighted_f1": MetricFacts(
        _NAMED,
        "the mean over labels of F1, weighted by gold positives",
        'scikit-learn, `f1_score(average="weighted")`',
    ),
    "weighted_precision": MetricFacts(
        _NAMED,
        "the mean over labels of precision, weighted by gold positives",
        'scikit-learn, `precision_score(average="weighted")`',
    ),
    "weighted_recall": MetricFacts(
        _NAMED,
        "the mean over labels of recall, weighted by gold positives",
        'scikit-learn, `recall_score(average="weighted")`',
    ),
    "accuracy": MetricFacts(
        (*_NAMED, "intensity"),
        "the share of rows all of whose labels are right",
        "scikit-learn, `accuracy_score`",
    ),
    "exact_match": MetricFacts(
        (*_NAMED, "intensity"), "`accuracy` under another name", "SemEval-2027 StereoQueerEval"
    ),
    "jaccard": MetricFacts(
        ("multilabel",),
        "the mean over rows of the labels that gold and answer share, by those of either; 1 where "
        "both have none",
        "SemEval-2018 Task 1, E-c (there called accuracy)",
    ),
    "macro_auc": MetricFacts(
        _NAMED,
        "the mean over labels of the area under the ROC curve, one label against the rest",
        "scikit-learn, `roc_auc_score`",
        needs="probs",
    ),
    "pearson_r": MetricFacts(
        ("intensity",),
        "the mean over labels of Pearson's r; a constant column counts 0, or 1 if both are equal",
        f"{_TASK_11}, track B",
        lowest=-1.0,
    ),
    "pearson": MetricFacts(
        _NUMBERS,
        "the mean over columns of Pearson's r; not defined for a constant column",
        "SciPy, `pearsonr`",
        lowest=-1.0,
        scale_free=True,
    ),
    "spearman": MetricFacts(
        _NUMBERS,
        "the mean over columns of the correlation of ranks, ties by their average; not defined for "
        "a constant column",
        "SciPy, `spearmanr`",
        lowest=-1.0,
        scale_free=True,
    ),
    "rmse": MetricFacts(
        (*_NUMBERS, "distribution"),
        "the mean over columns of the root of the mean squared error",
        "scikit-learn, `root_mean_squared_error`",
        low_is_better=True,
        highest=None,
    ),
    "mae": MetricFacts(
        (*_NUMBERS, "distribution"),
        "the mean over columns of the mean absolute error",
        "scikit-learn, `mean_absolute_error`",
        low_is_better=True,
        highest=None,
    ),
    "within_sd": MetricFacts(
        _NUMBERS,
        "the share of rows within one standard deviation of the ratings, or nearer to their mean "
        "than 1",
        "SemEval-2026 Task 5",
        needs="spread",
    ),
    "sd_spearman": MetricFacts(
        ("regression",),
        "Spearman's rho of the standard deviations within groups, the mean over columns",
        "SemEval-2027 Task 5",
        needs="groups",
        lowest=-1.0,
        scale_free=True,
    ),
    "jensen_shannon": MetricFacts(
        ("distribution",),
        "the mean over rows of the Jensen-Shannon divergence in bits",
        "Lin (1991), Divergence measures based on the Shannon entropy",
        low_is_better=True,
    ),
    "soft_cons": MetricFacts(
        ("singlelabel",),
        "the share of pairs of rows with the texts swapped whose answers are each other's reversal",
        "SemEval-2027 Task 2",
        needs="reverse",
    ),
    "hard_cons": MetricFacts(
        ("singlelabel",),
        "the share of pairs of rows with the texts swapped whose answers are both right",
        "SemEval-2027 Task 2",
        needs="reverse",
    ),
}
"""Every metric that `scoring.metrics` may name."""
_LOW = [name for name, facts in METRIC_FACTS.items() if facts.low_is_better]


def is_low(key: str) -> bool:
    """Whether lower is better for a score's key, such as `rmse`, `avg_rmse` or `avg_target_mae`."""
    return any(key == name or key.endswith(f"_{name}") for name in _LOW)


def list_metrics(kind: str) -> list[str]:
    """Names of the metrics that fit a kind of target, sorted."""
    return sorted(name for name, facts in METRIC_FACTS.items() if kind in facts.kinds)
