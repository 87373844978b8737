"""Owen values of a text's tokens, by shap's partition explainer."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.errors import KitError
from semeval_kit.show.explain.pieces import MaskedText, Pieces


def sum_owen(function: MaskedText, max_evals: int, seed: int) -> NDArray[np.float64]:
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
        found = explainer([_PLACEHOLDER], max_evals=max_evals, batch_size=32, silent=True)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return np.asarray(found.values[0], dtype=np.float64)


# shap hands the text to the tokenizer as a numpy string, which loses trailing NULs. The tokenizer
# below knows its text already, so shap gets this instead.
_PLACEHOLDER = "text"


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
        try:
            import shap
        except ImportError as error:
            raise KitError(
                "explain --method shap needs shap. "
                "Install it with: pip install 'semeval-kit[explain]'"
            ) from error
    return shap
