"""The recipe: every hyperparameter of a run, with its unit and default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from semeval_kit.errors import KitError
from semeval_kit.training.fields import HELP

# In a recipe file, beside the fields.
_COMPARED = ("sweep", "before")
Metric = Literal["score", "macro_f1", "micro_f1", "weighted_f1", "loss", "last"]


class TrainConfig(BaseModel):
    """Hyperparameters; a recipe file sets some, flags override, the rest are these defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str = Field("embedded", description=HELP["encoder"])
    revision: str = Field("", description=HELP["revision"])
    pooling: Literal["mean", "cls"] = Field("mean", description=HELP["pooling"])
    folds: int = Field(5, ge=2, le=50, description=HELP["folds"])
    holdout: float = Field(0.0, ge=0, lt=1, description=HELP["holdout"])
    holdout_split: Literal["", "dev"] = Field("", description=HELP["holdout_split"])
    epochs: int = Field(5, ge=0, le=1000, description=HELP["epochs"])
    batch_size: int = Field(16, ge=1, description=HELP["batch_size"])
    accumulation: int = Field(1, ge=1, description=HELP["accumulation"])
    eval_batch_size: int = Field(64, ge=1, description=HELP["eval_batch_size"])
    max_length: int = Field(128, ge=4, description=HELP["max_length"])
    lr: float = Field(0.0, ge=0, description=HELP["lr"])
    head_lr: float = Field(1e-3, gt=0, description=HELP["head_lr"])
    weight_decay: float = Field(0.01, ge=0, description=HELP["weight_decay"])
    warmup: float = Field(0.1, ge=0, description=HELP["warmup"])
    max_grad_norm: float = Field(1.0, ge=0, description=HELP["max_grad_norm"])
    hidden_dropout: float = Field(-1.0, ge=-1, lt=1, description=HELP["hidden_dropout"])
    attention_dropout: float = Field(-1.0, ge=-1, lt=1, description=HELP["attention_dropout"])
    head_dropout: float = Field(0.1, ge=0, lt=1, description=HELP["head_dropout"])
    freeze_embeddings: bool = Field(False, description=HELP["freeze_embeddings"])
    freeze_layers: int = Field(0, description=HELP["freeze_layers"])
    positive_weight: Literal["none", "sqrt", "balanced"] = Field(
        "none", description=HELP["positive_weight"]
    )
    select_by: Metric = Field("score", description=HELP["select_by"])
    patience: int = Field(0, ge=0, description=HELP["patience"])
    stop_by: Metric = Field("score", description=HELP["stop_by"])
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description=HELP["precision"]
    )
    seed: int = Field(0, ge=0, description=HELP["seed"])

    @model_validator(mode="after")
    def _hold_out_once(self) -> TrainConfig:
        if self.holdout and self.holdout_split:
            raise ValueError("set holdout or holdout_split, not both")
        return self

    @model_validator(mode="after")
    def _stop_needs_a_number(self) -> TrainConfig:
        if self.patience and self.stop_by == "last":
            raise ValueError("stop_by = 'last' cannot be watched; name a metric")
        return self


@dataclass(frozen=True)
class Comparison:
    """What a recipe compares, beside the hyperparameters of its runs.

    Attributes:
        encoders: those that `sweep` trains if none is named.
        before: whether each encoder is measured before fine-tuning, too.
    """

    encoders: tuple[str, ...]
    before: bool


def peak_lr(config: TrainConfig, width: int) -> float:
    """The encoder's peak learning rate: as the recipe says, or by the encoder's width.

    Narrow encoders bear and need more: 1.2e-4 at width 384, 4e-5 at 768, 2.5e-5 at 1024. The
    curve goes through what was best for MiniLM (384) and usual for base encoders (768).

    Args:
        config: the recipe.
        width: hidden size of the encoder.
    """
    return config.lr or 4e-5 * float(768 / width) ** 1.585


def list_recipes() -> list[str]:
    """Names of the recipes in the package."""
    files = resources.files("semeval_kit.training").joinpath("recipes").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def load_recipe(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a recipe by name or path and lay the overrides over it.

    Raises:
        KitError: no such recipe, not TOML, an unknown field or a value out of range.
    """
    read = _read_recipe(name_or_path)
    fields = {name: value for name, value in read.items() if name not in _COMPARED}
    return make_config({**fields, **(overrides or {})}, f"recipe '{name_or_path}'")


def load_comparison(name_or_path: str) -> Comparison:
    """Read what a recipe compares: the lines `sweep = ["...", "..."]` and `before = true`.

    Raises:
        KitError: no such recipe, not TOML, or a line is of another kind.
    """
    fields = _read_recipe(name_or_path)
    encoders, before = fields.get("sweep", []), fields.get("before", False)
    if not isinstance(encoders, list) or not all(isinstance(n, str) and n for n in encoders):
        raise KitError(
            f"recipe '{name_or_path}': sweep: expected a list of encoders; got {encoders!r}."
        )
    if not isinstance(before, bool):
        raise KitError(f"recipe '{name_or_path}': before: expected true or false; got {before!r}.")
    return Comparison(tuple(encoders), before)


def make_config(fields: Mapping[str, Any], where: str) -> TrainConfig:
    """Check fields and return them as a config.

    Raises:
        KitError: an unknown field or a value out of range; all of them are named.
    """
    try:
        return TrainConfig(**fields)
    except ValidationError as error:
        known = ", ".join(TrainConfig.model_fields)
        problems = [
            f"  {'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}"
            + (f" (known: {known})" if e["type"] == "extra_forbidden" else f"; got {e['input']!r}")
            for e in error.errors()
        ]
        raise KitError(f"{where}: cannot be used.\n" + "\n".join(problems)) from error


def _read_recipe(name_or_path: str) -> dict[str, Any]:
    path = Path(name_or_path)
    if path.suffix == ".toml":
        source = path.read_text(encoding="utf-8") if path.is_file() else None
    else:
        file = resources.files("semeval_kit.training").joinpath("recipes", f"{path.name}.toml")
        source = file.read_text(encoding="utf-8") if file.is_file() else None
    if source is None:
        raise KitError(
            f"recipe '{name_or_path}': not found. Known: {', '.join(list_recipes())}; "
            "or give the path of a .toml file."
        )
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise KitError(f"recipe '{name_or_path}': not TOML: {error}.") from error
