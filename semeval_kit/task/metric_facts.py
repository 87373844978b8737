"""Metrics as a task file names them: which kinds they fit, which way is better, what they need.

The arithmetic is in `submission.metrics`, under the same names.
"""

from __future__ import annotations

from dataclasses import dataclass

_NAMED = ("multilabel", "singlelabel")
NUMERIC = ("regression", "distribution")
"""Kinds whose labels are real numbers."""
_NUMBERS = ("intensity", "regression")


@dataclass(frozen=True)
class MetricFacts:
    """What a task file has to know about a metric.

    Attributes:
        kinds: of the targets that it can score.
        low_is_better: an error or a divergence.
        needs: what it needs beside gold and answers: "" nothing, "probs" probabilities, "spread"
            the standard deviation of each row's ratings, "reverse" the row with the texts swapped,
            "groups" the values of the group key.
        lowest: its smallest value.
        highest: its largest value, None where there is none.
    """

    kinds: tuple[str, ...]
    low_is_better: bool = False
    needs: str = ""
    lowest: float = 0.0
    highest: float | None = 1.0


METRIC_FACTS = {
    "macro_f1": MetricFacts(_NAMED),
    "micro_f1": MetricFacts(_NAMED),
    "weighted_f1": MetricFacts(_NAMED),
    "weighted_precision": MetricFacts(_NAMED),
    "weighted_recall": MetricFacts(_NAMED),
    "accuracy": MetricFacts((*_NAMED, "intensity")),
    "exact_match": MetricFacts((*_NAMED, "intensity")),
    "jaccard": MetricFacts(("multilabel",)),
    "macro_auc": MetricFacts(_NAMED, needs="probs"),
    "pearson_r": MetricFacts(("intensity",), lowest=-1.0),
    "pearson": MetricFacts(_NUMBERS, lowest=-1.0),
    "spearman": MetricFacts(_NUMBERS, lowest=-1.0),
    "rmse": MetricFacts((*_NUMBERS, "distribution"), low_is_better=True, highest=None),
    "mae": MetricFacts((*_NUMBERS, "distribution"), low_is_better=True, highest=None),
    "within_sd": MetricFacts(_NUMBERS, needs="spread"),
    "sd_spearman": MetricFacts(("regression",), needs="groups", lowest=-1.0),
    "jensen_shannon": MetricFacts(("distribution",), low_is_better=True),
    "soft_cons": MetricFacts(("singlelabel",), needs="reverse"),
    "hard_cons": MetricFacts(("singlelabel",), needs="reverse"),
}
"""Every metric that `scoring.metrics` may name."""
_LOW = [name for name, facts in METRIC_FACTS.items() if facts.low_is_better]


def is_low(key: str) -> bool:
    """Whether lower is better for a score's key, such as `rmse`, `avg_rmse` or `avg_target_mae`."""
    return any(key == name or key.endswith(f"_{name}") for name in _LOW)


def list_metrics(kind: str) -> list[str]:
    """Names of the metrics that fit a kind of target, sorted."""
    return sorted(name for name, facts in METRIC_FACTS.items() if kind in facts.kinds)
