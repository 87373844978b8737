"""A comparison of runs as tables that fit a page or a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Sequence

from semeval_kit.analysis.comparison import Entry, RunComparison
from semeval_kit.analysis.tables import (
    Table,
    show_count,
    show_interval,
    show_number,
    show_p,
    show_seconds,
    show_spread,
)

MEASURE_TITLES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "weighted_f1": "weighted F1",
    "weighted_precision": "weighted P",
    "weighted_recall": "weighted R",
    "macro_auc": "macro AUC",
    "accuracy": "accuracy",
    "jaccard": "Jaccard",
    "pearson_r": "Pearson r",
}
SPLIT_TITLES = {"oof": "out of fold", "dev": "dev", "test": "test"}
_LABELS_PER_TABLE = 5


def comparison_tables(comparison: RunComparison) -> list[Table]:
    """Scores, labels and training of all runs; labels in tables of five."""
    tables = [_scores(comparison), *_labels(comparison), _training(comparison)]
    return [table for table in tables if table.rows]


def measure_title(name: str, kind: str = "multilabel") -> str:
    """A metric's name for people: "accuracy" of several labels is subset accuracy."""
    if name == "accuracy" and kind == "multilabel":
        return "subset acc."
    return MEASURE_TITLES.get(name, name)


def _scores(comparison: RunComparison) -> Table:
    entries = comparison.entries
    others = [name for name in _measures(entries) if not _is_headline(name, entries)]
    metrics = dict.fromkeys(
        measure_title(e.results.metric, e.results.task.kind) for e in comparison.entries
    )
    kind = entries[0].results.task.kind
    rows = []
    for entry in entries:
        tuned = entry.results.split_score(comparison.split)
        measures = tuned.measures if tuned else {}
        test = entry.versus_best
        rows.append(
            (
                entry.results.name,
                show_number(entry.score),
                show_interval(entry.low, entry.high, 3),
                show_number(test.difference if test else None),
                show_p(test.p_value)
                if test
                else ("best" if entry.best == entry.results.name else "-"),
                show_number(entry.at_half),
                *(show_number(measures.get(name)) for name in others),
            )
        )
    title = "/".join(metrics)
    return Table(
        key="scores",
        title=f"{title}, {SPLIT_TITLES[comparison.split]}",
        columns=(
            "run",
            title,
            "95% interval",
            "vs best",
            "p",
            "at 0.5" if kind != "singlelabel" else "argmax",
            *(measure_title(name, kind) for name in others),
        ),
        rows=tuple(rows),
    )


def _show_test(entry: Entry) -> str:
    if entry.versus_best:
        return show_p(entry.versus_best.p_value)
    return "best" if entry.best == entry.results.name else "-"


def _labels(comparison: RunComparison) -> list[Table]:
    entries = comparison.entries
    names = list(dict.fromkeys(name for entry in entries for name in entry.labels))
    unit = "r" if entries[0].results.task.kind == "intensity" else "F1"
    thresholds = entries[0].results.task.kind != "singlelabel"
    tables = []
    for start in range(0, len(names), _LABELS_PER_TABLE):
        shown = names[start : start + _LABELS_PER_TABLE]
        tables.append(
            Table(
                key=f"labels-{start // _LABELS_PER_TABLE + 1}",
                title=f"{unit} per label, {SPLIT_TITLES[comparison.split]}"
                + (" (at 0.5)" if thresholds else ""),
                columns=("run", *shown),
                rows=tuple(
                    (e.results.name, *(_show_label(e, name, thresholds) for name in shown))
                    for e in entries
                ),
            )
        )
    return tables


def _show_label(entry: Entry, name: str, thresholds: bool) -> str:
    tuned = show_number(entry.labels.get(name), 3)
    if not tuned or not thresholds:
        return tuned
    return f"{tuned} ({show_number(entry.labels_at_half.get(name), 3)})"


def _training(comparison: RunComparison) -> Table:
    rows = []
    for entry in comparison.entries:
        results = entry.results
        rows.append(
            (
                results.name,
                shown_encoder(results.encoder),
                show_count(results.parameters),
                str(results.recipe.get("seed", "")),
                show_spread(results.fold_values("train_loss"), 3),
                show_spread(results.fold_values("val_loss"), 3),
                show_spread(results.fold_values("macro_f1"), 3),
                show_seconds(results.seconds),
                f"{results.peak_rss_mb / 1000:.1f}",
            )
        )
    return Table(
        key="training",
        title="Training: mean ± sd over folds, at the best epoch",
        columns=(
            "run", "encoder", "params", "seed", "train loss", "val loss", "F1 at 0.5", "time", "GB",
        ),
        rows=tuple(rows),
        n_text=2,
    )  # fmt: skip


def shown_encoder(encoder: str) -> str:
    """An encoder's name without its owner, or the last part of its folder."""
    return encoder.rstrip("/").rpartition("/")[2]


def _measures(entries: Sequence[Entry]) -> list[str]:
    found: dict[str, None] = {}
    for entry in entries:
        tuned = entry.results.split_score(entry.split)
        found |= dict.fromkeys(tuned.measures if tuned else ())
    return list(found)


def _is_headline(name: str, entries: Sequence[Entry]) -> bool:
    return all(entry.results.metric == name for entry in entries)
