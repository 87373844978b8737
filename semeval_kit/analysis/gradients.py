"""Integrated gradients of a text's tokens, by captum."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.analysis.masked_text import TextModel, count_rows, run_model
from semeval_kit.analysis.pieces import Pieces
from semeval_kit.errors import KitError


def integrate_gradients(
    member: TextModel,
    pieces: Pieces,
    mask_id: int,
    n_targets: int,
    steps: int,
    tell: Callable[[int], None],
) -> NDArray[np.float64]:
    """Integrated gradients `(n_tokens, C)` of one model, from the masked text to the text.

    Args:
        member: the model.
        pieces: the text.
        mask_id: token id of the base.
        n_targets: C.
        steps: of the Gauss-Legendre rule along the path.
        tell: is told of evaluations when they are done.

    Raises:
        KitError: captum is not installed.
    """
    import torch

    captum = import_captum()
    model = member.model
    ids = torch.from_numpy(pieces.ids).to(model.device)
    masked = ids.clone()
    masked[torch.from_numpy(pieces.places).to(model.device)] = mask_id

    def forward(batch: Any) -> Any:
        tell(len(batch))
        return run_model(model, batch)

    with _frozen(model):
        path = captum.LayerIntegratedGradients(forward, model.get_input_embeddings())
        found = path.attribute(
            inputs=ids.repeat(n_targets, 1),
            baselines=masked.repeat(n_targets, 1),
            target=torch.arange(n_targets, device=model.device),
            n_steps=steps,
            internal_batch_size=max(n_targets, count_rows(len(ids))),
        )
    values = found.detach().double().sum(dim=-1).T.cpu().numpy()
    return np.asarray(values[pieces.places], dtype=np.float64)


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


def import_captum() -> Any:
    """Import captum.

    Raises:
        KitError: it is not installed.
    """
    try:
        import captum.attr
    except ImportError as error:
        raise KitError(
            "explain --method ig needs captum. Install it with: pip install 'semeval-kit[explain]'"
        ) from error
    return captum.attr
