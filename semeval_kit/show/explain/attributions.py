"""Attributions: which tokens push which target, by Shapley values or integrated gradients."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray
from semeval_kit.errors import KitError, import_extra
from semeval_kit.show.explain.pieces import (
    MaskedText,
    Pieces,
    TextModel,
    count_rows,
    cut_pieces,
    find_mask,
)

# Evaluations of a model per text: at most, of all models together, and at least. With fewer than
# 200, `shap` lets half the words of a sentence share their contribution with a neighbour. With
# `ig` each is a point on the path with the gradients of all targets; what one model's sum misses
# is 0.002 of probability on average with 24 points and 0.01 with 16, and the models' mean less.
_EVALS = {"shap": (300, 1000, 200), "ig": (24, 80, 16)}
METHODS = tuple(_EVALS)

# With gradients a forward pass keeps what every layer computed: 2 GB for a large encoder.
_MOST_TOKENS = 2048

# shap hands the text to the tokenizer as a numpy string, which loses trailing NULs. The tokenizer
# below knows its text already, so shap gets this instead.
_PLACEHOLDER = "text"


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
    values: FloatArray
    base: FloatArray
    probs: FloatArray
    n_tokens: int = 0

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces) + self.rest

    @property
    def gaps(self) -> FloatArray:
        """What the contributions leave unexplained: probs - base - their sum, `(C,)`."""
        gaps: FloatArray = self.probs - self.base - self.values.sum(axis=0)
        return gaps


def explain_texts(
    models: Sequence[TextModel],
    texts: Sequence[str],
    *,
    method: str = "shap",
    max_length: int = 128,
    max_evals: int | None = None,
    seed: int = 0,
    on_evals: Callable[[int], object] | None = None,
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


def integrate_gradients(
    member: TextModel, pieces: Pieces, mask_id: int, steps: int, tell: Callable[[int], object]
) -> FloatArray:
    """Integrated gradients `(n_tokens, C)` of one model, from the masked text to the text.

    The integral over the straight path between the word embeddings is taken at the middles of
    equal steps: the probabilities change most in the middle of the path, where Gauss-Legendre has
    the fewest points, so that it misses more on real texts for the same work. One forward pass
    serves all targets.

    The base is all `mask_id`; each step is one evaluation, of which `tell` is told when it is done.
    """
    import torch

    layer = member.embeddings
    ids = torch.from_numpy(pieces.ids).to(next(layer.parameters()).device)
    masked = ids.clone()
    masked[torch.from_numpy(pieces.places).to(ids.device)] = mask_id
    with torch.no_grad():
        text, base = layer(torch.stack([ids, masked]))
    shares = (torch.arange(steps, device=ids.device, dtype=text.dtype) + 0.5) / steps
    total: Any = 0
    with _frozen(member.classifier):
        for part in torch.split(shares, count_rows(len(ids), _MOST_TOKENS)):  # type: ignore[no-untyped-call]
            points = (base + part[:, None, None] * (text - base)).requires_grad_()
            with torch.enable_grad(), _replaced_output(layer, points):
                probs = member.forward_probs(ids.expand(len(points), -1))
            slopes = [
                torch.autograd.grad(column.sum(), points, retain_graph=True)[0].double().sum(dim=0)
                for column in probs.unbind(dim=1)
            ]
            total = total + torch.stack(slopes)
            tell(len(points))
    # (C, n_ids, width) gradients times (n_ids, width) ways, summed over the width.
    values = (total / steps * (text - base).double()).sum(dim=-1).T.cpu().numpy()
    return np.asarray(values[pieces.places], dtype=np.float64)


def sum_owen(function: MaskedText, max_evals: int, seed: int) -> FloatArray:
    """Owen values `(n_tokens, C)`; they sum to the text's probability minus the base.

    Args:
        function: probabilities of the masked text; it has at least two tokens.
        max_evals: masked texts to try, at most; what they leave open is shared out evenly.
        seed: of ties in the order of trying.

    Raises:
        KitError: shap is not installed.
    """
    shap = import_shap()
    segments = _Segments(function.pieces, function.mask_id)
    masker = shap.maskers.Text(segments, output_type="token_ids")
    explainer = shap.PartitionExplainer(function, masker)
    # shap breaks ties with numpy's global generator.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        explanation = explainer([_PLACEHOLDER], max_evals=max_evals, batch_size=32, silent=True)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return np.asarray(explanation.values[0], dtype=np.float64)


class _Segments:
    """What `shap.maskers.Text` asks of a tokenizer, answered for one text that is already cut.

    Without the special tokens: they stay where they are and get no share.
    """

    def __init__(self, pieces: Pieces, mask_id: int) -> None:
        self.mask_token, self.mask_token_id = "\u2026", mask_id
        self.ids = pieces.ids[pieces.places].tolist()
        self.words, strings = [], pieces.strings
        for place, owner in enumerate(pieces.owners):
            new = place == 0 or owner > pieces.owners[place - 1]
            begins = new and not pieces.continued[owner]
            self.words.append(("" if begins else "##") + (strings[owner].strip() if new else ""))

    def __call__(self, text: str, **options: Any) -> dict[str, Any]:
        if options.get("return_offsets_mapping"):
            raise NotImplementedError
        return {"input_ids": self.ids if text == _PLACEHOLDER else []}

    def convert_ids_to_tokens(self, ids: Any) -> list[str]:
        """The tokens as WordPiece spells them, by which shap sees which ones make a word."""
        return self.words


def import_shap() -> Any:
    """Import shap with numba's compiler off: it takes seconds for loops of microseconds.

    Raises:
        KitError: shap is not installed.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            settings = importlib.import_module("numba").config
            stack.callback(setattr, settings, "DISABLE_JIT", settings.DISABLE_JIT)
            settings.DISABLE_JIT = 1
        return import_extra("shap", "explain", "explain --method shap needs")


def _explain_one(
    models: Sequence[TextModel],
    pieces: Pieces,
    method: str,
    max_evals: int | None,
    seed: int,
    tell: Callable[[int], object],
) -> Attribution:
    function = MaskedText(models, pieces, tell)
    mask = function.mask_id
    tokens = pieces.ids[pieces.places]
    base, probs = function(np.stack([np.full_like(tokens, mask), tokens]))
    if not len(tokens):
        probs = base  # of the same input: two rows of a batch may differ in the last bit
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


@contextlib.contextmanager
def _replaced_output(layer: Any, output: Any) -> Iterator[None]:
    handle = layer.register_forward_hook(lambda *_: output)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """Let gradients reach the embeddings' output only: half the work of reaching the weights."""
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
