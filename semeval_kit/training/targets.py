"""Targets: what a model's outputs mean, how they are learnt, how they become probabilities.

The only module of this room that knows the kind of a target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semeval_kit.task.codec import column_names, encode_labels
from semeval_kit.task.metric_facts import EXCLUSIVE, NUMERIC
from semeval_kit.task.schema import Kind
from semeval_kit.task.schema import Target as TaskTarget
from semeval_kit.task.task import Task

Array = NDArray[np.float64]


def read_targets(task: Task) -> Targets:
    """What the head of a task's models gives; `encode_gold` has the same columns."""
    # Without the auxiliary ones beside it a target's columns may have plainer names.
    plain = {target.name: target for target in task.without_auxiliary().targets}
    return Targets(
        tuple(
            Target(
                kind=target.kind,
                names=column_names(plain.get(target.name, target)),
                n_levels=target.largest,
                bounded=target.bounded,
                weight=target.weight,
                auxiliary=target.auxiliary,
            )
            for target in _predicted_first(task)
        )
    )


def encode_gold(task: Task, labels: Array) -> Array:
    """Labels of all targets `(n_examples, n_labels)` as the columns `(n_examples, n_columns)`."""
    return order_columns(task, encode_labels(task, labels))


def order_columns(task: Task, encoded: Array) -> Array:
    """The task's target columns `(n_examples, n_columns)` in the order of the head's."""
    slices = [task.target_slices[target.name] for target in _predicted_first(task)]
    return np.concatenate([encoded[:, columns] for columns in slices], axis=1)


def find_reversal(task: Task) -> NDArray[np.int64] | None:
    """Of each predicted column, the one that says the same of text and pair swapped.

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


def parse_targets(content: dict[str, Any]) -> Targets:
    """What a head.json says."""
    return Targets(
        tuple(Target(**{**part, "names": tuple(part["names"])}) for part in content["targets"])
    )


@dataclass(frozen=True)
class LossOptions:
    """Levers of the loss; see the recipe's fields.

    Attributes:
        smoothing: share of certainty that is taken from labels.
        asymmetric: power of the probability that weakens the loss of negatives.
    """

    smoothing: float = 0.0
    asymmetric: float = 0.0


PLAIN = LossOptions()


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
        return self.kind in EXCLUSIVE

    @property
    def is_number(self) -> bool:
        """Whether the columns are numbers to come near to, rather than answers yes or no."""
        return self.kind in NUMERIC

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
        # Cells without gold add 0 and are not cut out, for whose number a GPU would be waited.
        logits, gold = logits.float(), gold.nan_to_num()
        if self.shares:
            annotated = annotated.all(dim=1, keepdim=True)
            terms = -gold * positive_weight * logits.log_softmax(dim=-1)
        elif self.is_free:
            terms = (logits - gold).square()
        elif options.asymmetric and not self.is_number:
            terms = _asymmetric_terms(logits, gold, positive_weight, options.asymmetric)
        else:
            terms = nn.functional.binary_cross_entropy_with_logits(
                logits, gold, pos_weight=positive_weight, reduction="none"
            )
        return terms.where(annotated, 0).sum()

    def sum_divergence(self, one: Tensor, two: Tensor, gold: Tensor) -> Tensor:
        """Sum of how far two passes over a batch differ, in the terms of `count_terms`.

        Half of the symmetric Kullback-Leibler divergence, or half the squared difference of free
        numbers; all arguments are `(n_texts, n_columns)`.
        """
        annotated = ~torch.isnan(gold)
        a, b = one.float(), two.float()
        if self.shares:
            annotated = annotated.all(dim=1, keepdim=True)
            a, b = a.log_softmax(dim=-1), b.log_softmax(dim=-1)
            terms = (a.exp() - b.exp()) * (a - b)
        elif self.is_free:
            terms = (a - b).square()
        else:  # of two Bernoullis: (p - q) (logit p - logit q)
            terms = (a.sigmoid() - b.sigmoid()) * (a - b)
        return terms.where(annotated, 0).sum() / 2


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
    def pairs(self) -> Iterator[tuple[Target, slice]]:
        """Each target with its columns."""
        return zip(self.parts, self.slices, strict=True)

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


def _predicted_first(task: Task) -> list[TaskTarget]:
    return sorted(task.targets, key=lambda target: target.auxiliary)


_MARGIN = 0.05  # of probability: negatives below it teach nothing


def _asymmetric_terms(
    logits: Tensor, gold: Tensor, positive_weight: Tensor, power: float
) -> Tensor:
    shifted = (logits.sigmoid() - _MARGIN).clamp(min=0)
    negative = shifted**power * torch.log1p(-shifted)
    return -(gold * positive_weight * nn.functional.logsigmoid(logits) + (1 - gold) * negative)
