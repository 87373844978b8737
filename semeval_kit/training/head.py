"""The head: what the outputs of a model mean, how they are learnt, how they become probabilities.

The only module of this room that knows the kind of a target.
"""

from __future__ import annotations

import inspect
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

from semeval_kit.task.codec import column_names, encode_labels
from semeval_kit.task.schema import Kind
from semeval_kit.task.schema import Target as TaskTarget
from semeval_kit.task.task import Task

Array = NDArray[np.float64]
HEAD_FILE, HEAD_WEIGHTS = "head.json", "head.safetensors"


@dataclass(frozen=True)
class LossOptions:
    """Levers of the loss; see the recipe's fields.

    Attributes:
        smoothing: share of certainty that is taken from labels.
        asymmetric: power of the probability that weakens the loss of negatives.
    """

    smoothing: float = 0.0
    asymmetric: float = 0.0


@dataclass(frozen=True)
class Target:
    """One target and its columns at the end of a network.

    Attributes:
        kind: of the task's target.
        names: of its columns.
        n_levels: columns per label: more than one for the cumulative events of intensities.
        bounded: whether the numbers of a regression stay in their range.
        weight: of its loss in the sum over targets.
        auxiliary: learnt, never predicted.
    """

    kind: Kind
    names: tuple[str, ...]
    n_levels: int = 1
    bounded: bool = True
    weight: float = 1.0
    auxiliary: bool = False

    @property
    def shares(self) -> bool:
        """Whether the columns share one: softmax and cross-entropy; else each is on its own."""
        return self.kind in ("singlelabel", "distribution")

    @property
    def is_number(self) -> bool:
        """Whether the columns are numbers to come near to, rather than answers yes or no."""
        return self.kind in ("regression", "distribution")

    @property
    def is_free(self) -> bool:
        """Whether the columns may leave 0..1: no sigmoid, and a squared error."""
        return self.kind == "regression" and not self.bounded

    def to_probs(self, logits: Tensor) -> Tensor:
        """Turn logits `(n_texts, n_columns)` into probabilities, or shares of a range."""
        if self.is_free:
            return logits
        return torch.softmax(logits, dim=-1) if self.shares else torch.sigmoid(logits)

    def count_terms(self, gold: Tensor) -> Tensor:
        """Number of terms `()` that a batch adds to the loss: cells, or rows where they share."""
        annotated = ~torch.isnan(gold)
        return (annotated.all(dim=1) if self.shares else annotated).sum()

    def sum_loss(
        self, logits: Tensor, gold: Tensor, positive_weight: Tensor, options: LossOptions
    ) -> Tensor:
        """Sum of the terms of a batch: logits and gold `(n_texts, n_columns)`.

        Cross-entropy in nats of shares (of a distribution too), binary cross-entropy of events and
        of numbers in a range (whose slope, unlike that of a squared error behind a sigmoid, does
        not vanish at the ends), squared error of free numbers. Labels that are yes or no may be
        smoothed, and easy negatives weakened (Ridnik et al. 2021, arXiv 2009.14119).
        """
        annotated = ~torch.isnan(gold)
        if options.smoothing and not self.is_number:
            even = 1 / gold.shape[1] if self.shares else 0.5
            gold = gold + options.smoothing * (even - gold)
        if self.shares:
            rows = annotated.all(dim=1)
            logs = nn.functional.log_softmax(logits[rows].float(), dim=-1)
            return -(gold[rows] * logs * positive_weight).sum()
        if self.is_free:
            return (logits.float()[annotated] - gold[annotated]).square().sum()
        logits, gold = logits.float()[annotated], gold[annotated]
        positive_weight = positive_weight.expand_as(annotated)[annotated]
        if options.asymmetric and not self.is_number:
            return _sum_asymmetric(logits, gold, positive_weight, options.asymmetric)
        return nn.functional.binary_cross_entropy_with_logits(
            logits, gold, pos_weight=positive_weight, reduction="sum"
        )

    def sum_divergence(self, one: Tensor, two: Tensor, gold: Tensor) -> Tensor:
        """Sum of how far two passes over a batch differ, in the terms of `count_terms`.

        Half of the symmetric Kullback-Leibler divergence, or half the squared difference of free
        numbers; all arguments are `(n_texts, n_columns)`.
        """
        annotated = ~torch.isnan(gold)
        a, b = one.float(), two.float()
        if self.shares:
            logs = [values.log_softmax(dim=-1)[annotated.all(dim=1)] for values in (a, b)]
            return ((logs[0].exp() - logs[1].exp()) * (logs[0] - logs[1])).sum() / 2
        a, b = a[annotated], b[annotated]
        if self.is_free:
            return (a - b).square().sum() / 2
        # Of two Bernoullis: (p - q) (logit p - logit q).
        return ((a.sigmoid() - b.sigmoid()) * (a - b)).sum() / 2


@dataclass(frozen=True)
class Targets:
    """All that a head gives, column after column: what is predicted, then what is auxiliary."""

    parts: tuple[Target, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(name for part in self.parts for name in part.names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that are predicted: the first ones."""
        return tuple(name for part in self.predicted for name in part.names)

    @cached_property
    def predicted(self) -> tuple[Target, ...]:
        """The targets that are predicted."""
        return tuple(part for part in self.parts if not part.auxiliary)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The columns of each target."""
        ends = np.cumsum([len(part.names) for part in self.parts]).tolist()
        return tuple(slice(e - len(p.names), e) for e, p in zip(ends, self.parts, strict=True))

    @property
    def exclusive(self) -> bool:
        """Whether one target is predicted, and its columns share one."""
        return len(self.predicted) == 1 and self.predicted[0].shares

    @property
    def fits_pipeline(self) -> bool:
        """Whether one softmax over all predicted columns, or one sigmoid of each, says it all."""
        alike = not any(part.shares or part.is_free for part in self.predicted)
        return self.exclusive or alike

    def config_entries(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Entries of a transformers config that make `pipeline()` answer with these names."""
        problem = "single_label_classification" if self.exclusive else "multi_label_classification"
        return {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
            "problem_type": problem,
        }

    def to_probs(self, logits: Tensor) -> Tensor:
        """Probabilities `(n_texts, n_predicted)` in double precision.

        Args:
            logits: `(n_texts, n_columns)`.
        """
        wide, pairs = logits.double(), zip(self.predicted, self.slices, strict=False)
        return torch.cat([part.to_probs(wide[:, columns]) for part, columns in pairs], dim=1)


class TargetLoss:
    """The training loss: of each target the mean over its annotated cells, weighted and added up.

    Cells that are NaN count nothing. Positives may weigh more, by the training rows of the fold.
    """

    def __init__(
        self,
        targets: Targets,
        gold: Array,
        positive_weight: str,
        options: LossOptions = LossOptions(),
    ) -> None:
        """Derive the weights from the training rows' `(n_examples, n_targets)`."""
        self.targets, self.options = targets, options
        power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[positive_weight]
        positives = np.nansum(gold, axis=0)
        negatives = np.sum(~np.isnan(gold), axis=0) - positives
        ratio = np.divide(negatives, positives, out=np.ones_like(positives), where=positives > 0)
        for part, columns in zip(targets.parts, targets.slices, strict=True):
            if part.is_number:
                ratio[columns] = 1.0
        self.positive = torch.tensor(np.maximum(ratio, 1e-6) ** power, dtype=torch.float32)
        self.weights = torch.tensor([part.weight for part in targets.parts])

    def count_terms(self, gold: Tensor) -> Tensor:
        """Terms that a batch adds, `(n_parts,)`."""
        parts = zip(self.targets.parts, self.targets.slices, strict=True)
        return torch.stack([part.count_terms(gold[:, columns]) for part, columns in parts])

    def sum_terms(self, logits: Tensor, gold: Tensor) -> Tensor:
        """Sums of the terms of a batch `(n_parts,)`; logits and gold `(n_texts, n_targets)`.

        There may be several logits of each row, one block of rows after the other: their mean.
        """
        copies = len(logits) // max(len(gold), 1)
        gold = gold.repeat(copies, 1)
        positive = self.positive.to(logits.device)
        parts = zip(self.targets.parts, self.targets.slices, strict=True)
        return torch.stack(
            [
                part.sum_loss(logits[:, s], gold[:, s], positive[s], self.options) / copies
                for part, s in parts
            ]
        )

    def sum_divergence(self, logits: Tensor, gold: Tensor) -> Tensor:
        """How far two passes differ, summed over the terms of a batch `(n_parts,)`.

        Args:
            logits: `(2 * n_texts * n_samples, n_columns)`: all texts, all again, and so on.
            gold: `(n_texts, n_columns)`.
        """
        both = logits.view(-1, 2, len(gold), logits.shape[1])
        samples = len(both)
        one, two = (both[:, side].flatten(0, 1) for side in (0, 1))
        gold = gold.repeat(samples, 1)
        parts = zip(self.targets.parts, self.targets.slices, strict=True)
        return torch.stack(
            [part.sum_divergence(one[:, s], two[:, s], gold[:, s]) / samples for part, s in parts]
        )

    def total(self, sums: Tensor, terms: Tensor) -> Tensor:
        """The loss `()` of sums over so many terms, both `(n_parts,)`."""
        means = sums / terms.clamp(min=1).to(sums.device)
        return (means * self.weights.to(sums.device)).sum()


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
        samples: int = 1,
    ) -> None:
        """Wrap a network; with `mean_head` it is a plain encoder and gets a fresh linear layer.

        With several samples a training pass gives that many blocks of logits, one after the other,
        each with a dropout of its own (multi-sample dropout, Inoue 2019, arXiv 1905.09788).
        """
        super().__init__()
        self.network, self.targets = network, targets
        takes_types = "token_type_ids" in inspect.signature(network.forward).parameters
        self.takes_types = takes_types and getattr(network.config, "type_vocab_size", 0) > 1
        self.head: nn.Linear | None = None
        self.samples = samples
        if mean_head:
            if getattr(network, "pooler", None) is not None:
                network.pooler = None
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(network.config.hidden_size, len(targets.columns))
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    @property
    def backbone(self) -> PreTrainedModel:
        """The encoder without a head."""
        if self.head is not None:
            return self.network
        backbone: PreTrainedModel = getattr(self.network, self.network.base_model_prefix)
        return backbone

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return logits `(n_texts, n_columns)` of tokens `(n_texts, n_tokens)`.

        Args:
            input_ids: the tokens.
            attention_mask: 1 for a token and 0 for padding.
            token_type_ids: 1 for the tokens of a second text, for encoders that are told.
        """
        types = {"token_type_ids": token_type_ids} if self.takes_types else {}
        output = self.network(input_ids=input_ids, attention_mask=attention_mask, **types)
        if self.head is None:
            logits: Tensor = output.logits
            return logits
        # In fp32 whatever the encoder computes in: a sum of many tokens needs the digits.
        weights = attention_mask.unsqueeze(-1).float()
        mean = (output.last_hidden_state.float() * weights).sum(dim=1) / weights.sum(dim=1)
        if self.training:
            mean = mean.repeat(self.samples, 1)
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


_MARGIN = 0.05  # of probability: negatives below it teach nothing


def _sum_asymmetric(logits: Tensor, gold: Tensor, positive_weight: Tensor, power: float) -> Tensor:
    shifted = (logits.sigmoid() - _MARGIN).clamp(min=0)
    negative = shifted**power * torch.log1p(-shifted)
    return -(
        gold * positive_weight * nn.functional.logsigmoid(logits) + (1 - gold) * negative
    ).sum()


def read_targets(task: Task) -> Targets:
    """What the head of a task's models gives; `encode_gold` has the same columns.

    Args:
        task: with its auxiliary targets.
    """
    # Without the auxiliary ones beside it a target's columns may have plainer names.
    plain = {target.name: target for target in task.without_auxiliary().targets}
    return Targets(
        tuple(
            Target(
                kind=target.kind,
                names=column_names(plain.get(target.name, target)),
                n_levels=target.max_intensity if target.kind == "intensity" else 1,
                bounded=target.bounded,
                weight=target.weight,
                auxiliary=target.auxiliary,
            )
            for target in _predicted_first(task)
        )
    )


def encode_gold(task: Task, labels: Array) -> Array:
    """Labels of all targets `(n_examples, n_labels)` as the columns `(n_examples, n_columns)`."""
    encoded = encode_labels(task, labels)
    slices = [task.target_slices[target.name] for target in _predicted_first(task)]
    return np.concatenate([encoded[:, columns] for columns in slices], axis=1)


def find_reversal(task: Task) -> NDArray[np.int64] | None:
    """Of each predicted column, the one that says the same of text and pair swapped.

    Args:
        task: with its rules between answers.

    Returns:
        Column numbers `(n_predicted,)`, or None for a task without such a rule.
    """
    reversed_label = task.rules.reversal
    if not reversed_label:
        return None
    columns = np.arange(sum(len(column_names(target)) for target in task.main_targets))
    labels = task.main_targets[0].labels
    for column, label in enumerate(labels):
        columns[column] = labels.index(reversed_label.get(label, label))
    return columns


def _predicted_first(task: Task) -> list[TaskTarget]:
    return sorted(task.targets, key=lambda target: target.auxiliary)


def parse_targets(content: dict[str, Any]) -> Targets:
    """What a head.json says."""
    return Targets(
        tuple(Target(**{**part, "names": tuple(part["names"])}) for part in content["targets"])
    )
