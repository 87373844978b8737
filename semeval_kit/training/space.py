"""The space of a search: which fields of a recipe vary, and how far."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from semeval_kit.errors import KitError
from semeval_kit.training.recipe import Recipe, make_recipe, peak_lr, read_toml

# What decides which rows judge, or what is no part of learning, is the same for all trials.
_FOLDS = "the folds are the same for all trials, so that they can be compared"
_SHARED = {
    **dict.fromkeys(("folds", "holdout", "holdout_split", "refold"), _FOLDS),
    "seed": "the seed is the same for all trials, so that they can be compared",
    "revision": "it belongs to the encoder",
    "extra": "the rows are the same for all trials, so that they can be compared",
    "select_by": "an epoch chosen on the rows that judge it would favour more epochs",
    "patience": "an end chosen on the rows that judge it would favour more epochs",
    "stop_by": "an end chosen on the rows that judge it would favour more epochs",
    "eval_batch_size": "it changes no result",
    "checkpoint_minutes": "it changes no result",
}
_RANGE = ("low", "high", "log")


@dataclass(frozen=True)
class Dimension:
    """A field of the recipe that varies: among choices, or from low to high.

    Attributes:
        choices: its values; empty for a range.
        log: whether sizes are searched rather than values.
        whole: whether values are whole numbers.
        line: where it stands in the space file.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    line: int = 0

    def holds(self, value: Any) -> bool:
        """Tell whether a value lies in it."""
        if self.choices:
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        return bool(self.low <= value <= self.high)

    def spell(self) -> str:
        """What is searched, for a person: `1e-05 to 0.0004 (log)` or `8, 16, 32`."""
        if self.choices:
            return ", ".join(str(choice) for choice in self.choices)
        return f"{self.low:g} to {self.high:g}" + (" (log)" if self.log else "")


@dataclass(frozen=True)
class Space:
    """What a search varies.

    Attributes:
        where: the file, for messages.
        dimensions: in the order of the file.
    """

    where: str
    text: str
    dimensions: tuple[Dimension, ...]

    def locate(self, recipe: Recipe) -> dict[str, Any]:
        """The recipe's own values of what varies: where the search begins.

        A peak learning rate that is not set is what the encoder's width makes of it.

        Raises:
            KitError: a value is not set, or lies outside of the space.
        """
        point = {}
        for dimension in self.dimensions:
            place, name = f"{self.where}, line {dimension.line}", dimension.name
            value = getattr(recipe, name)
            if value is None and name == "lr":
                value = peak_lr(recipe, _read_width(recipe))
            flag = f"--{name.replace('_', '-')}"
            if value is None:
                raise KitError(
                    f"{place}: {name} is not set in the recipe, so the search does not know where "
                    f"to begin. Give {flag}."
                )
            if not dimension.holds(value):
                raise KitError(
                    f"{place}: the recipe's own {name}, {value!r}, is not among "
                    f"{dimension.spell()}. A search begins with the recipe: widen the space, or "
                    f"give {flag}."
                )
            point[name] = value
        return point


def load_space(name_or_path: str, recipe: Recipe) -> Space:
    """Read a space by name or path, and try each of its ends and choices on the recipe.

    Raises:
        KitError: no such space, not TOML, or a field cannot vary so; the line is named.
    """
    text, fields = read_toml("space", name_or_path)
    if not fields:
        raise KitError(f"{name_or_path}: names no field, so there is nothing to search.")
    dimensions = tuple(
        _read_dimension(name, content, name_or_path, _find_line(text, name))
        for name, content in fields.items()
    )
    for dimension in dimensions:
        ends = (int(dimension.low), int(dimension.high)) if dimension.whole else ()
        for value in dimension.choices or ends or (dimension.low, dimension.high):
            make_recipe(
                {**recipe.model_dump(), dimension.name: value},
                f"{name_or_path}, line {dimension.line}",
            )
    return Space(name_or_path, text, dimensions)


def _read_dimension(name: str, content: Any, where: str, line: int) -> Dimension:
    place = f"{where}, line {line}"
    if name not in Recipe.model_fields:
        raise KitError(
            f"{place}: the recipe has no field '{name}'. Known: "
            f"{', '.join(n for n in Recipe.model_fields if n not in _SHARED)}."
        )
    if name in _SHARED:
        raise KitError(f"{place}: {name} cannot vary: {_SHARED[name]}.")
    if isinstance(content, Mapping) and set(content) == {"choices"}:
        content = content["choices"]
    if isinstance(content, list):
        return Dimension(name, choices=_read_choices(content, name, place), line=line)
    if not isinstance(content, Mapping) or not {"low", "high"} <= set(content) <= set(_RANGE):
        raise KitError(
            f"{place}: {name}: expected a list of choices, or low, high and perhaps log; "
            f"got {content!r}."
        )
    return _read_range(content, name, place, line)


def _read_choices(content: Sequence[Any], name: str, place: str) -> tuple[Any, ...]:
    plain = all(isinstance(value, (str, int, float)) for value in content)
    if not plain or len(content) < 2 or len({repr(value) for value in content}) < len(content):
        raise KitError(f"{place}: {name}: expected two or more different values; got {content!r}.")
    if name_type(name) is float:
        return tuple(float(value) if type(value) is int else value for value in content)
    return tuple(content)


def _read_range(content: Mapping[str, Any], name: str, place: str, line: int) -> Dimension:
    kind, low, high = name_type(name), content["low"], content["high"]
    if kind not in (int, float):
        raise KitError(f"{place}: {name} is no number: list its choices.")
    numbers = (int,) if kind is int else (int, float)
    if any(type(value) not in numbers for value in (low, high)):
        told = "whole numbers" if kind is int else "numbers"
        raise KitError(f"{place}: {name}: low and high are {told}; got {low!r} and {high!r}.")
    log = content.get("log", False)
    if not isinstance(log, bool):
        raise KitError(f"{place}: {name}: log is true or false; got {log!r}.")
    if not low < high:
        raise KitError(f"{place}: {name}: low is not below high; got {low!r} and {high!r}.")
    if log and low <= 0:
        raise KitError(f"{place}: {name}: with log, low is above 0; got {low!r}.")
    return Dimension(name, low=float(low), high=float(high), log=log, whole=kind is int, line=line)


def name_type(field: str) -> type | None:
    """The plain type of a recipe's field; what may also be not set is as what it is if set."""
    annotation = Recipe.model_fields[field].annotation
    if get_origin(annotation) is Literal:
        return str
    kinds = get_args(annotation) or (annotation,)
    return next((kind for kind in kinds if kind in (bool, int, float, str)), None)


def _find_line(text: str, name: str) -> int:
    """The line where a field stands, as a key or as a table; the first one else."""
    pattern = re.compile(rf"""^\s*\[?\s*["']?{re.escape(name)}["']?\s*[\].=]""")
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 1)


def _read_width(recipe: Recipe) -> int:
    from transformers import AutoConfig

    from semeval_kit.training.source import explain_failure, resolve_encoder

    try:
        config = AutoConfig.from_pretrained(
            resolve_encoder(recipe.encoder), revision=recipe.revision or None
        )
    except (OSError, ValueError) as error:
        raise explain_failure(recipe.encoder, error) from error
    return int(config.hidden_size)
