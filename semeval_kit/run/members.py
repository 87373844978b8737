"""Members: whatever gives probabilities is a run, and speaks through one interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples
from semeval_kit.decision.rule import Thresholds
from semeval_kit.decision.targets import decide_labels, rules_from_json
from semeval_kit.errors import KitError
from semeval_kit.files import read_json
from semeval_kit.run.blending import read_blend
from semeval_kit.run.directory import Run

if TYPE_CHECKING:
    from semeval_kit.training.fold import FoldModel

Floats = NDArray[np.float64]


class Voice(Protocol):
    """Something that gives probabilities to texts."""

    @property
    def target_names(self) -> tuple[str, ...]:
        """The columns of the probabilities."""

    def probs(
        self, texts: Sequence[str], *, pairs: Sequence[str] = (), contexts: Sequence[str] = ()
    ) -> Floats:
        """Probabilities `(n_texts, n_targets)`."""


def load_voices(run: Run, folds: Sequence[int], language: str = "") -> tuple[Voice, ...]:
    """Load the models of some folds, whatever the member.

    Raises:
        KitError: a fold is not finished, a file is damaged, or the run has no models.
    """
    if run.member in ("linear", "frozen"):
        from semeval_kit.training import linear

        return tuple(_Spoken(linear.load_fold(run, fold), language) for fold in folds)
    if run.member == "blend":
        weights, members = read_blend(run)
        voices = tuple(load_voices(one, range(one.n_models), language) for one in members.values())
        return (_Chorus(weights.target_names, weights.of(language), voices),)
    if run.member != "encoder":
        raise KitError(f"{run.path}: is no model but a file of probabilities; it reads no texts.")
    from semeval_kit.training.fold import load_fold

    return tuple(load_fold(run, fold) for fold in folds)


@dataclass(frozen=True)
class _Spoken:
    """A model of several languages, bound to the one that is spoken."""

    model: Any
    language: str

    @property
    def target_names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.model.target_names
        return names

    def probs(
        self, texts: Sequence[str], *, pairs: Sequence[str] = (), contexts: Sequence[str] = ()
    ) -> Floats:
        from semeval_kit.training.linear import join_texts

        joined = join_texts(texts, pairs, contexts)
        values: Floats = self.model.probs(joined, languages=[self.language] * len(texts))
        return values


@dataclass(frozen=True)
class _Chorus:
    """The members of a blend, each the mean of its models, by their weights `(C, M)`."""

    target_names: tuple[str, ...]
    weights: Floats
    voices: tuple[tuple[Voice, ...], ...]

    def probs(
        self, texts: Sequence[str], *, pairs: Sequence[str] = (), contexts: Sequence[str] = ()
    ) -> Floats:
        total = np.zeros((len(texts), len(self.target_names)))
        for number, models in enumerate(self.voices):
            columns = [models[0].target_names.index(name) for name in self.target_names]
            by_model = [model.probs(texts, pairs=pairs, contexts=contexts) for model in models]
            mean = np.mean(by_model, axis=0)
            total += self.weights[:, number] * mean[:, columns]
        return np.clip(total, 0.0, 1.0)


@dataclass(frozen=True)
class RunModels:
    """The models that speak for a run, and how their probabilities become answers.

    Attributes:
        models: one per fold that is used.
        rules: of each target that is predicted.
        words: "fold 0" or "the mean of 5 folds".
    """

    run: Run
    models: tuple[FoldModel, ...]
    rules: Mapping[str, Thresholds]
    words: str

    @property
    def target_names(self) -> tuple[str, ...]:
        """The C columns of the probabilities."""
        return self.models[0].target_names

    def probs(self, texts: list[str]) -> Floats:
        """Mean probabilities `(n, C)` of texts; see `split_inputs` for pairs.

        Raises:
            KitError: the task reads pairs or contexts, and a text has none.
        """
        inputs = split_inputs(self.run, texts)
        parts = [model.probs(**inputs) for model in self.models]
        return np.asarray(np.mean(parts, axis=0), dtype=np.float64)

    def decide(self, probs: Floats, language: str) -> NDArray[np.int64]:
        """Predictions `(n, L)` for probabilities `(n, C)` of texts in one language."""
        languages = [language] * len(probs)
        answers: NDArray[np.int64] = decide_labels(self.run.task, self.rules, probs, languages)
        return answers

    def cuts(self, language: str) -> Floats:
        """Thresholds `(C,)` for a language, NaN where the answer does not come from one."""
        target = self.run.task.main_targets[0]
        rule = self.rules[target.name]
        by_level = rule.intensity is not None and rule.intensity.method == "expected_value"
        if target.kind == "singlelabel" or by_level:
            return np.full(len(self.target_names), np.nan)
        return np.asarray(rule.rows([language])[0], dtype=np.float64)


def join_inputs(examples: Examples) -> list[str]:
    """Each row as one line: its text, its pair and its context, with a tab between."""
    columns = [column for column in (examples.texts, examples.pairs, examples.contexts) if column]
    return [
        "\t".join(cell.replace("\t", " ") for cell in row) for row in zip(*columns, strict=True)
    ]


def split_inputs(run: Run, lines: list[str]) -> dict[str, Any]:
    """The arguments of a model's `probs` that lines stand for: texts, and pairs and contexts.

    A line is a text; for a task with pairs or contexts, those follow it after tabs.

    Raises:
        KitError: a line has not as many parts as the task reads.
    """
    data = run.task.data
    names = ["texts"]
    names += ["pairs"] if data.has_pairs else []
    names += ["contexts"] if data.context else []
    if len(names) == 1:
        return {"texts": lines}
    rows = [line.split("\t") for line in lines]
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(names):
            raise KitError(
                f"'{line[:60]}': this task reads {' and '.join(names)}. "
                "Give them in this order in one line, with a tab between."
            )
    return {name: [row[column] for row in rows] for column, name in enumerate(names)}


def load_models(
    run: Run, fold: int | None, say: Callable[[str], None], language: str = ""
) -> RunModels:
    """Load a fold's model, or all of them, and the run's rules.

    Without thresholds.json 0.5 or the most probable label decides, and the former is said.

    Raises:
        KitError: a fold is not finished or does not exist, or a file is damaged.
    """
    if fold is not None and fold >= run.n_folds:
        raise KitError(f"{run.path}: no fold {fold}; it has folds 0 to {run.n_folds - 1}.")
    folds = range(run.n_models) if fold is None else [fold]
    models: Any = load_voices(run, folds, language)
    several = f"{run.n_folds} folds" if run.n_models == run.n_folds else f"{run.n_models} models"
    words = f"the mean of {several}" if len(models) > 1 else f"fold {folds[0]}"
    target, *others = run.task.main_targets
    if run.thresholds_file.is_file() or others or target.is_numeric:
        return RunModels(
            run, models, rules_from_json(run.task, read_json(run.thresholds_file)), words
        )
    names = models[0].target_names
    rule = Thresholds.even(names, 0.0, "argmax")
    if target.kind != "singlelabel":
        say(f"{run.path}: no thresholds yet, so 0.5 decides. `semeval-kit tune` finds better ones.")
        rule = Thresholds.even(names, 0.5, "half")
    return RunModels(run, models, {target.name: rule}, words)


def check_language(run: Run, language: str | None, say: Callable[[str], None]) -> str:
    """The language whose thresholds decide; empty, and said, for those over all languages.

    Raises:
        KitError: the task does not have the language.
    """
    if language is not None:
        return run.task.check_languages([language])[0]
    if len(run.languages) == 1:
        return run.languages[0]
    say(f"no --language given, so thresholds over all of {' '.join(run.languages)} decide")
    return ""
