"""Integrated gradients of a text's tokens, by captum."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.errors import KitError
from semeval_kit.show.explain.masked_text import TextModel, count_rows, run_model
from semeval_kit.show.explain.pieces import Pieces

# With gradients a forward pass keeps what every layer computed: 2 GB for a large encoder.
_MOST_TOKENS = 2048


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
        steps: equal ones along the path, each with one evaluation at its middle.
        tell: is told of evaluations when they are done.

    Raises:
        KitError: captum is not installed.
    """
    import torch

    captum = import_captum()
    model = member.model
    layer = model.get_input_embeddings()
    ids = torch.from_numpy(pieces.ids).to(model.device)
    masked = ids.clone()
    masked[torch.from_numpy(pieces.places).to(model.device)] = mask_id

    def differentiate(*, inputs: tuple[Any], **_: Any) -> tuple[Any]:
        # captum repeats each point of the path for each target: one forward pass serves them all.
        points = inputs[0][::n_targets].detach().requires_grad_()
        with torch.enable_grad(), _replaced_output(layer, points):
            probs = run_model(model, ids.expand(len(points), -1))
        grads = [
            torch.autograd.grad(probs[:, target].sum(), points, retain_graph=True)[0]
            for target in range(n_targets)
        ]
        tell(len(points))
        return (torch.stack(grads, dim=1).flatten(0, 1),)

    with _frozen(model):
        with torch.no_grad():
            text, base = layer(torch.stack([ids, masked]))
        path = captum.IntegratedGradients(model)
        path.gradient_func = differentiate
        found = path.attribute(
            inputs=text.expand(n_targets, -1, -1),
            baselines=base.expand(n_targets, -1, -1),
            n_steps=steps,
            # The probabilities change most in the middle of the path, where captum's own choice,
            # Gauss-Legendre, has the fewest points: on real texts it misses more for the same work.
            method="riemann_middle",
            internal_batch_size=n_targets * count_rows(len(ids), _MOST_TOKENS),
        )
    values = found.detach().double().sum(dim=-1).T.cpu().numpy()
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
