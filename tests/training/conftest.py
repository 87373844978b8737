"""Rows, trainers and processes for tests of the training room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NAMES = ("anger", "fear", "joy")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The number of threads decides the last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """Let a test choose device and precision, of which accelerate knows one per process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def make_rows() -> Callable[..., Any]:
    """Make tokenised rows whose targets can be learnt: one token per target."""
    from semeval_kit.training.batches import Rows
    from semeval_kit.training.tokens import Tokens

    def make(n: int, seed: int = 0, first: str = "row") -> Any:
        draw = np.random.default_rng(seed)
        targets = (draw.random((n, len(NAMES))) < 0.4).astype(float)
        ids = []
        for row in targets:
            words = draw.integers(25, 60, size=draw.integers(2, 9)).tolist()
            words += [5 + 3 * target for target in np.flatnonzero(row).tolist()]
            ids.append([2, *words, 3])
        return Rows(tuple(f"{first}-{i}" for i in range(n)), Tokens.of(ids), targets)

    return make


@pytest.fixture
def make_trainer(tiny_bert: Path) -> Callable[..., Any]:
    """Make a trainer of the tiny BERT in fp32; keywords are recipe fields."""
    from semeval_kit.training.loop import FoldTrainer
    from semeval_kit.training.recipe import make_recipe
    from semeval_kit.training.steps import make_accelerator
    from semeval_kit.training.targets import Target, Targets

    def make(
        events: list[dict[str, Any]] | None = None,
        *,
        exclusive: bool = False,
        fold: int = 0,
        **fields: Any,
    ) -> Any:
        recipe = {"encoder": str(tiny_bert), "batch_size": 4, "epochs": 2, "lr": 1e-3, **fields}
        return FoldTrainer(
            make_recipe({"precision": "fp32", **recipe}, "a test"),
            Targets((Target("singlelabel" if exclusive else "multilabel", NAMES),)),
            fold,
            0,
            accelerator=make_accelerator("fp32", fold),
            emit=(events if events is not None else []).append,
        )

    return make
