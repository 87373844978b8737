"""The head: what the outputs of a model mean, how they are learnt, how they become probabilities.

The only module of this room that knows the kind of a target.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from semeval_kit.task.codec import target_names
from semeval_kit.task.schema import Kind
from semeval_kit.task.task import Task

Array = NDArray[np.float64]
HEAD_FILE, HEAD_WEIGHTS = "head.json", "head.safetensors"


@dataclass(frozen=True)
class Target:
    """One target and its columns at the end of a network.

    Attributes:
        kind: of the task's target.
        names: of its columns.
        n_levels: columns per label: more than one for the cumulative events of intensities.
    """

    kind: Kind
    names: tuple[str, ...]
    n_levels: int = 1

    @property
    def shares(self) -> bool:
        """Whether the columns share one: softmax and cross-entropy; else each is on its own."""
        return self.kind == "singlelabel"

    def to_probs(self, logits: Tensor) -> Tensor:
        """Turn logits `(n_texts, n_columns)` into probabilities."""
        return torch.softmax(logits, dim=-1) if self.shares else torch.sigmoid(logits)

    def count_terms(self, targets: Tensor) -> Tensor:
        """Number of terms `()` that a batch adds to the loss: cells, or rows where they share."""
        annotated = ~torch.isnan(targets)
        return (annotated.all(dim=1) if self.shares else annotated).sum()

    def sum_loss(self, logits: Tensor, targets: Tensor, positive_weight: Tensor) -> Tensor:
        """Sum of the terms of a batch, in nats: logits and targets `(n_texts, n_columns)`."""
        annotated = ~torch.isnan(targets)
        if self.shares:
            rows = annotated.all(dim=1)
            logs = nn.functional.log_softmax(logits[rows].float(), dim=-1)
            return -(targets[rows] * logs * positive_weight).sum()
        return nn.functional.binary_cross_entropy_with_logits(
            logits.float()[annotated],
            targets[annotated],
            pos_weight=positive_weight.expand_as(targets)[annotated],
            reduction="sum",
        )


@dataclass(frozen=True)
class Targets:
    """All that a head gives, column after column."""

    parts: tuple[Target, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(name for part in self.parts for name in part.names)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The columns of each target."""
        ends = np.cumsum([len(part.names) for part in self.parts]).tolist()
        return tuple(slice(e - len(p.names), e) for e, p in zip(ends, self.parts, strict=True))

    @property
    def exclusive(self) -> bool:
        """Whether there is one target whose columns share one."""
        return len(self.parts) == 1 and self.parts[0].shares

    @property
    def config_entries(self) -> dict[str, Any]:
        """Entries of a transformers config that make `pipeline()` answer with these names."""
        problem = "single_label_classification" if self.exclusive else "multi_label_classification"
        return {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
            "problem_type": problem,
        }

    def to_probs(self, logits: Tensor) -> Tensor:
        """Turn logits `(n_texts, n_columns)` into probabilities in double precision."""
        wide = logits.double()
        return torch.cat(
            [p.to_probs(wide[:, s]) for p, s in zip(self.parts, self.slices, strict=True)], dim=1
        )


class TargetLoss:
    """The training loss: of each target the mean over its annotated cells, added up.

    Cells that are NaN count nothing. Positives may weigh more, by the training rows of the fold.
    """

    def __init__(self, targets: Targets, gold: Array, positive_weight: str) -> None:
        """Derive the weights from the training rows' `(n_examples, n_targets)`."""
        self.targets = targets
        power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[positive_weight]
        positives = np.nansum(gold, axis=0)
        negatives = np.sum(~np.isnan(gold), axis=0) - positives
        ratio = np.divide(negatives, positives, out=np.ones_like(positives), where=positives > 0)
        self.weight = torch.tensor(np.maximum(ratio, 1e-6) ** power, dtype=torch.float32)

    def count_terms(self, gold: Tensor) -> Tensor:
        """Terms that a batch adds, `(n_parts,)`."""
        parts = zip(self.targets.parts, self.targets.slices, strict=True)
        return torch.stack([part.count_terms(gold[:, columns]) for part, columns in parts])

    def sum_terms(self, logits: Tensor, gold: Tensor) -> Tensor:
        """Sums of the terms of a batch `(n_parts,)`; logits and gold `(n_texts, n_targets)`."""
        weight = self.weight.to(logits.device)
        parts = zip(self.targets.parts, self.targets.slices, strict=True)
        return torch.stack(
            [part.sum_loss(logits[:, s], gold[:, s], weight[s]) for part, s in parts]
        )


class Classifier(nn.Module):
    """An encoder with a head: the one forward pass of training, test, prediction, explanation.

    Either a plain encoder and a linear layer on the mean of its tokens' last hidden states, or
    transformers' own classifier of a family, whose head reads the first token (or its own mean).
    """

    def __init__(
        self,
        network: PreTrainedModel,
        targets: Targets,
        *,
        mean_head: bool,
        dropout: float = 0.0,
    ) -> None:
        """Wrap a network; with `mean_head` it is a plain encoder and gets a fresh linear layer."""
        super().__init__()
        self.network, self.targets = network, targets
        self.head: nn.Linear | None = None
        if mean_head:
            if getattr(network, "pooler", None) is not None:
                network.pooler = None
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(network.config.hidden_size, len(targets.names))
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    @property
    def backbone(self) -> PreTrainedModel:
        """The encoder without a head."""
        if self.head is not None:
            return self.network
        backbone: PreTrainedModel = getattr(self.network, self.network.base_model_prefix)
        return backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits `(n_texts, n_targets)` of tokens `(n_texts, n_tokens)`."""
        output = self.network(input_ids=input_ids, attention_mask=attention_mask)
        if self.head is None:
            logits: Tensor = output.logits
            return logits
        # In fp32 whatever the encoder computes in: a sum of many tokens needs the digits.
        weights = attention_mask.unsqueeze(-1).float()
        mean = (output.last_hidden_state.float() * weights).sum(dim=1) / weights.sum(dim=1)
        logits = self.head(self.dropout(mean))
        return logits

    def save(self, folder: Path) -> None:
        """Write the network by `save_pretrained`, and the head beside it."""
        self.network.save_pretrained(folder)
        if self.head is not None:
            save_file(
                {k: v.contiguous() for k, v in self.head.state_dict().items()},
                folder / HEAD_WEIGHTS,
            )
        pooling = "own" if self.head is None else "mean"
        parts = [asdict(part) for part in self.targets.parts]
        content = {"format": 1, "pooling": pooling, "targets": parts}
        (folder / HEAD_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_targets(task: Task) -> Targets:
    """What the head of a task's models gives."""
    n_levels = task.max_intensity if task.kind == "intensity" else 1
    return Targets((Target(task.kind, tuple(target_names(task)), n_levels),))


def parse_targets(content: dict[str, Any]) -> Targets:
    """What a head.json says."""
    return Targets(
        tuple(Target(**{**part, "names": tuple(part["names"])}) for part in content["targets"])
    )
