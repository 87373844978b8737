"""The outcome of a comparison of runs, and all its values by name."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from semeval_kit.decision.resampling import Comparison
from semeval_kit.show.markup import escape_cell
from semeval_kit.show.results import RunResults


@dataclass(frozen=True)
class Entry:
    """One run of a comparison.

    Attributes:
        results: the run's numbers.
        split: "oof" or "dev".
        score: headline metric by tuned thresholds (for "oof" cross-fitted).
        low: lower end of its 95% interval, None if there is none.
        high: upper end.
        at_half: headline metric at 0.5.
        labels: label -> score by tuned thresholds, the mean over languages.
        labels_at_half: the same at 0.5.
        best: name of the run that this one is compared with.
        versus_best: this run minus the best; None for the best itself and where rows differ.
        no_test_because: why there is no test; empty where there is one, and for the best itself.
    """

    results: RunResults
    split: str
    score: float
    low: float | None
    high: float | None
    at_half: float
    labels: dict[str, float]
    labels_at_half: dict[str, float]
    best: str
    versus_best: Comparison | None
    no_test_because: str

    def cells(self) -> dict[str, Any]:
        """Everything about the run as named values, for CSV and JSON; None where unknown."""
        results, test = self.results, self.versus_best
        tuned = results.split_score(self.split)
        estimate = results.estimate if self.split == "oof" else {}
        cells: dict[str, Any] = {
            "run": results.name,
            "task": results.task.name,
            "encoder": results.encoder,
            "parameters": results.parameters,
            "trainable_parameters": results.trainable_parameters,
            "seed": results.recipe.get("seed"),
            "folds": len(results.folds),
            "split": self.split,
            "n_examples": tuned.n_examples if tuned else None,
            "metric": results.metric,
            "score": self.score,
            "low": self.low,
            "high": self.high,
            "at_half": self.at_half,
            "in_sample": estimate.get("tuned_in_sample", {}).get("score"),
            "best_run": self.best,
            "difference": test.difference if test else None,
            "difference_low": test.low if test else None,
            "difference_high": test.high if test else None,
            "p_value": test.p_value if test else None,
            "no_test_because": self.no_test_because,
        }
        cells |= dict(tuned.measures) if tuned else {}
        for name in ("train_loss", "val_loss", "macro_f1", "micro_f1", "subset_accuracy"):
            values = results.fold_values(name)
            cells[f"fold_{name}_mean"] = float(np.mean(values)) if values else None
            cells[f"fold_{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        cells |= {f"label_{name}": value for name, value in self.labels.items()}
        cells |= {f"label_{name}_at_half": value for name, value in self.labels_at_half.items()}
        cells["official_test"] = official_score(results)
        cells["seconds"] = results.seconds
        cells["peak_rss_mb"] = results.peak_rss_mb
        return cells


@dataclass(frozen=True)
class RunComparison:
    """Runs on one split, sorted.

    Attributes:
        split: "oof" or "dev".
        entries: one per run.
        notes: sentences that belong beside the table.
    """

    split: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All values by name."""
        return {
            "split": self.split,
            "runs": [entry.cells() for entry in self.entries],
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """One line per run with all values in full precision."""
        rows = [entry.cells() for entry in self.entries]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(escape_cell(name) for name in columns)
        for row in rows:
            cells = [row.get(name) for name in columns]
            writer.writerow("" if c is None else escape_cell(str(c)) for c in cells)
        return buffer.getvalue()


def official_score(results: RunResults) -> float | None:
    """The headline metric of the test split as the local official scorer gave it, or None."""
    if not results.official.get("accepted"):
        return None
    per_language = [
        language["metrics"].get(results.metric) for language in results.official["languages"]
    ]
    values = [float(value) for value in per_language if value is not None]
    return sum(values) / len(values) if values and len(values) == len(per_language) else None


def train_splits(results: RunResults) -> tuple[str, ...]:
    """The splits that a run was trained on."""
    return tuple(results.settings["train_splits"])
