"""Attributions: how much each piece of a text moves each probability.

Both methods start from the same base, the text with every token masked, and both are additive:
base + sum of contributions = probability.

- `shap`: Owen values, i.e. Shapley values over a tree of neighbouring tokens (Lundberg and Lee
  2017, arXiv 1705.07874; shap's partition explainer). Exact in the sum, whatever the cap.
- `ig`: integrated gradients on the word embeddings (Sundararajan et al. 2017, arXiv 1703.01365).
  The sum is exact up to the integration error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.errors import KitError
from semeval_kit.show.explain.gradients import integrate_gradients
from semeval_kit.show.explain.pieces import MaskedText, Pieces, TextModel, cut_pieces, find_mask
from semeval_kit.show.explain.shapley import import_shap, sum_owen

Floats = NDArray[np.float64]
# Evaluations of a model per text: at most, of all models together, and at least. With fewer than
# 200, `shap` lets half the words of a sentence share their contribution with a neighbour. With
# `ig` each is a point on the path with the gradients of all targets; what one model's sum misses
# is 0.002 of probability on average with 24 points and 0.01 with 16, and the models' mean less.
_EVALS = {"shap": (300, 1000, 200), "ig": (24, 80, 16)}
METHODS = tuple(_EVALS)


@dataclass(frozen=True)
class Attribution:
    """What moved the probabilities of one text.

    Attributes:
        pieces: consecutive stretches of the text; they and `rest` join to the text.
        continued: for each piece whether it goes on with the word before it.
        rest: the end of the text, if the model does not read it.
        values: contributions `(n_pieces, C)` in units of probability.
        base: probabilities of the masked text `(C,)`.
        probs: probabilities of the text `(C,)`.
        n_tokens: of the text, as far as the model reads it; so many masks are the base.
    """

    pieces: tuple[str, ...]
    continued: tuple[bool, ...]
    rest: str
    values: Floats
    base: Floats
    probs: Floats
    n_tokens: int = 0

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces) + self.rest

    @property
    def gaps(self) -> Floats:
        """What the contributions leave unexplained: probs - base - their sum, `(C,)`."""
        gaps: Floats = self.probs - self.base - self.values.sum(axis=0)
        return gaps


def explain_texts(
    models: Sequence[TextModel],
    texts: Sequence[str],
    *,
    method: str = "shap",
    max_length: int = 128,
    max_evals: int | None = None,
    seed: int = 0,
    on_evals: Callable[[int], None] | None = None,
) -> Iterator[Attribution]:
    """Explain the mean probability over the models, text after text.

    Args:
        models: one per fold, all with the same tokenizer.
        texts: any strings; a text without tokens has no contributions.
        method: "shap" or "ig".
        max_length: tokens per text, as in training.
        max_evals: evaluations of every model per text, at most; None: see `count_evals`.
        seed: of ties in the order in which `shap` evaluates.
        on_evals: is told of evaluations when they are done, those of all models added up.

    Raises:
        KitError: the method is unknown, its library is missing, or the tokenizers differ.
    """
    import_method(method)
    if max_evals is not None and max_evals < 4:
        raise KitError(f"max-evals {max_evals}: too few to explain anything. Give at least 4.")
    _require_same_tokenizer(models)
    tell = on_evals or (lambda _: None)
    for text in texts:
        pieces = cut_pieces(models[0].tokenizer, text, max_length)
        yield _explain_one(models, pieces, method, max_evals, seed, tell)


def import_method(method: str) -> None:
    """Import the library of a method, if it needs one.

    Raises:
        KitError: the method is unknown, or its library is not installed.
    """
    if method not in METHODS:
        raise KitError(f"method '{method}' is unknown. Choose one of {', '.join(METHODS)}.")
    if method == "shap":
        import_shap()


def name_mask(tokenizer: Any) -> str:
    """The token that stands for a masked one, as the tokenizer spells it: `[MASK]`."""
    return str(tokenizer.convert_ids_to_tokens(find_mask(tokenizer)))


def count_evals(method: str, n_models: int, max_evals: int | None) -> int:
    """Evaluations per text and model, at most: what is asked for, or the method's default.

    The default of `shap` is 300 for one model and less for more of them, 200 for five; that of `ig`
    is 24 for one and 16 for five.
    """
    if max_evals is not None:
        return max_evals
    most, shared, least = _EVALS[method]
    return max(least, min(most, shared // n_models))


def _explain_one(
    models: Sequence[TextModel],
    pieces: Pieces,
    method: str,
    max_evals: int | None,
    seed: int,
    tell: Callable[[int], None],
) -> Attribution:
    function = MaskedText(models, pieces, tell)
    mask = function.mask_id
    tokens = pieces.ids[pieces.places]
    base, probs = function(np.stack([np.full_like(tokens, mask), tokens]))
    evals = count_evals(method, len(models), max_evals)
    if len(tokens) < 2:
        values = np.repeat((probs - base)[None], len(tokens), axis=0)
    elif method == "shap":
        values = sum_owen(function, evals, seed)
    else:
        parts = [integrate_gradients(model, pieces, mask, evals, tell) for model in models]
        values = np.mean(parts, axis=0)
    return Attribution(
        pieces=pieces.strings,
        continued=pieces.continued,
        rest=pieces.rest,
        values=pieces.sum_pieces(values),
        base=base,
        probs=probs,
        n_tokens=len(tokens),
    )


def _require_same_tokenizer(models: Sequence[TextModel]) -> None:
    if not models:
        raise KitError("explain: no model given. Train the run first.")
    probe = "The same? D\u00e9j\u00e0 vu \u2603"
    codes = [tuple(m.tokenizer(probe)["input_ids"]) for m in models]
    if len(set(codes)) > 1:
        raise KitError("explain: the folds have different tokenizers. Explain one fold: --fold 0.")
