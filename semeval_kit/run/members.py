"""Members: whatever gives probabilities is a run, and speaks through one interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semeval_kit.errors import KitError
from semeval_kit.run.blending import read_blend
from semeval_kit.run.directory import Run

Floats = NDArray[np.float64]


class Voice(Protocol):
    """Something that gives probabilities to texts."""

    @property
    def target_names(self) -> tuple[str, ...]:
        """The columns of the probabilities."""

    def probs(self, texts: list[str]) -> Floats:
        """Probabilities `(n_texts, n_targets)`."""


def load_voices(run: Run, folds: Sequence[int], language: str = "") -> tuple[Voice, ...]:
    """Load the models of some folds, whatever the member.

    Args:
        run: a trained run.
        folds: which.
        language: of the texts to come; "" where it is not known.

    Raises:
        KitError: a fold is not finished, a file is damaged, or the run has no models.
    """
    if run.member in ("linear", "frozen"):
        from semeval_kit.training import linear

        return tuple(_Spoken(linear.load_fold(run, fold), language) for fold in folds)
    if run.member == "blend":
        return (_load_blend(run, language),)
    if run.member != "encoder":
        raise KitError(f"{run.path}: is no model but a file of probabilities; it reads no texts.")
    from semeval_kit.training.predict import load_fold

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

    def probs(self, texts: list[str]) -> Floats:
        found: Floats = self.model.probs(texts, languages=[self.language] * len(texts))
        return found


def _load_blend(run: Run, language: str) -> Voice:
    weights, members = read_blend(run)
    voices = tuple(load_voices(one, range(one.n_models), language) for one in members.values())
    return _Chorus(weights.target_names, weights.of(language), voices)


@dataclass(frozen=True)
class _Chorus:
    """The members of a blend, each the mean of its models, by their weights `(C, M)`."""

    target_names: tuple[str, ...]
    weights: Floats
    voices: tuple[tuple[Voice, ...], ...]

    def probs(self, texts: list[str]) -> Floats:
        total = np.zeros((len(texts), len(self.target_names)))
        for number, models in enumerate(self.voices):
            columns = [models[0].target_names.index(name) for name in self.target_names]
            mean = np.mean([model.probs(texts) for model in models], axis=0)
            total += self.weights[:, number] * mean[:, columns]
        return np.clip(total, 0.0, 1.0)
