"""A run in a notebook: its numbers as pandas frames, its tables and pictures as they are shown."""

from __future__ import annotations

import html
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semeval_kit.decision.rule import Thresholds
from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import ANSWERED, Answers, read_rule
from semeval_kit.show.compare import find_before
from semeval_kit.show.figures.pictures import Picture, draw_figures, read_all_answers
from semeval_kit.show.report import list_tables, list_tiles
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.scores import SplitResult
from semeval_kit.show.tabulate import Table

if TYPE_CHECKING:
    from pandas import DataFrame


def open_run(path: str | Path) -> OpenRun:
    """Open a finished run.

    Raises:
        KitError: there is no run.
    """
    return OpenRun(Run.open(Path(path)))


class OpenRun:
    """A finished run: what is read once is kept.

    A notebook shows it as its headline figures.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def __repr__(self) -> str:
        return f"OpenRun({str(self.run.path)!r})"

    @cached_property
    def results(self) -> RunResults:
        """Every number that tables say about the run.

        Raises:
            KitError: a stage has not run.
        """
        return read_results(self.run, answers=self._answers)

    @property
    def score(self) -> float:
        """The score to expect of the upload.

        Raises:
            KitError: there is no estimate yet, or nothing is foretold.
        """
        expected = self.results.expected
        if not expected:
            raise KitError(f"{self.run.path}: no score is foretold. `semeval-kit tune` says why.")
        return float(expected["score"])

    def labels(self, split: str = "oof") -> DataFrame:
        """Scores per label: positives, F1 (or Pearson's r) tuned, its interval, and at 0.5.

        Raises:
            KitError: the run has no answers, or no gold labels, for the split.
        """
        import pandas

        half, tuned = (self._require(split, rule) for rule in ("half", "tuned"))
        frame = pandas.DataFrame(
            [
                {
                    "label": label.label,
                    "positives": label.positives,
                    "score": label.score,
                    "low": label.interval[0] if label.interval else np.nan,
                    "high": label.interval[1] if label.interval else np.nan,
                    "at_half": plain.score,
                    "precision": label.precision,
                    "recall": label.recall,
                }
                for label, plain in zip(tuned.labels, half.labels, strict=True)
            ]
        )
        return frame.set_index("label")

    def thresholds(self) -> DataFrame:
        """The tuned thresholds: targets in rows, languages in columns, NaN where there is none."""
        import pandas

        rule = self._rule
        columns = {"all languages": rule.joint, **rule.values}
        return pandas.DataFrame(columns, index=pandas.Index(rule.target_names, name="target"))

    def history(self) -> DataFrame:
        """Losses and measures after each epoch of each fold, on the rows held out."""
        import pandas

        return pandas.DataFrame(
            {"fold": model % self.run.n_folds, "seed": model // self.run.n_folds, **row}
            for model in range(self.run.n_models)
            for row in self.run.read_history(model)
        )

    def answers(self, split: str = "oof") -> DataFrame:
        """Every row with its gold labels, probabilities (`p:joy`) and answers (`tuned:joy`).

        Raises:
            KitError: as for `labels`.
        """
        import pandas

        self._require(split, "tuned")
        answers = self._answers[split]
        assert answers is not None
        labels, probs = answers.examples.label_names, answers.probs
        parts = [
            answers.examples.to_frame(),
            pandas.DataFrame(probs.values, columns=[f"p:{name}" for name in probs.target_names]),
            pandas.DataFrame(answers.tuned, columns=[f"tuned:{name}" for name in labels]),
        ]
        return pandas.concat(parts, axis=1)

    def tables(self) -> dict[str, Table]:
        """The tables of the report by name; each has `to_latex`, `to_markdown` and `to_csv`."""
        return {table.key: table for table in list_tables(self.results, self._rule)}

    def figures(self) -> dict[str, Picture]:
        """The pictures of the report by name; each has its matplotlib `figure`.

        Raises:
            KitError: matplotlib is missing.
        """
        train, before = self.run.read_train(), find_before(self.run)
        drawn = draw_figures(self.run, train, self._answers, before)
        return {picture.name: picture for picture in drawn}

    def _repr_html_(self) -> str:
        tiles = "".join(
            f"<tr><th style='text-align:left'>{html.escape(tile['title'])}</th>"
            f"<td><b>{html.escape(tile['value'])}</b></td>"
            f"<td style='text-align:left'>{html.escape(tile['detail'])}</td></tr>"
            for tile in list_tiles(self.results)
        )
        return f"<h4>{html.escape(self.run.name)}</h4><table><tbody>{tiles}</tbody></table>"

    @cached_property
    def _answers(self) -> dict[str, Answers | None]:
        return read_all_answers(self.run)

    @cached_property
    def _rule(self) -> Thresholds:
        return read_rule(self.run)

    def _require(self, split: str, rule: str) -> SplitResult:
        if split not in ANSWERED:
            raise KitError(f"split '{split}' is unknown. Choose one of {', '.join(ANSWERED)}.")
        score = self.results.split_score(split, rule)
        if score is None:
            raise KitError(f"{self.run.path}: no answers with gold labels for {split}.")
        return score
