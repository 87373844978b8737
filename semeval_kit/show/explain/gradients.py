"""Integrated gradients of a text's tokens (Sundararajan et al. 2017, arXiv 1703.01365)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.show.explain.pieces import Pieces, TextModel, count_rows

# With gradients a forward pass keeps what every layer computed: 2 GB for a large encoder.
_MOST_TOKENS = 2048


def integrate_gradients(
    member: TextModel, pieces: Pieces, mask_id: int, steps: int, tell: Callable[[int], None]
) -> NDArray[np.float64]:
    """Integrated gradients `(n_tokens, C)` of one model, from the masked text to the text.

    The integral over the straight path between the word embeddings is taken at the middles of
    equal steps: the probabilities change most in the middle of the path, where Gauss-Legendre has
    the fewest points, so that it misses more on real texts for the same work. One forward pass
    serves all targets.

    Args:
        member: the model.
        pieces: the text.
        mask_id: token id of the base.
        steps: equal ones along the path, each with one evaluation.
        tell: is told of evaluations when they are done.
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
