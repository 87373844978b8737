"""The recipe: every hyperparameter of a run, with its unit and default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from semeval_kit.errors import KitError

# In a recipe file, beside the fields.
_COMPARED = ("sweep", "before")
# Fields that older runs do not have: they are frozen where they are not as by default.
_LATER = (
    "pairs",
    "checkpoint_minutes",
    "label_smoothing",
    "asymmetric",
    "rdrop",
    "fgm",
    "ema",
    "average_epochs",
    "layer_decay",
    "multi_dropout",
    "seeds",
    "refold",
    "extra",
    "extra_weight",
    "transductive",
    "positive_weight_by",
    "mlm_epochs",
    "interpolation",
)
Metric = Literal["score", "macro_f1", "micro_f1", "weighted_f1", "loss", "last"]


class Recipe(BaseModel):
    """Hyperparameters; a recipe file sets some, flags override, the rest are these defaults.

    `None` means that a field is not set: the encoder decides, and done.json says what it came to.
    The descriptions are the help of the flags, too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    encoder: str = Field("embedded", description="hub id, local folder, or 'embedded'")
    revision: str = Field("", description="commit of the hub model; empty: its main branch")
    pooling: Literal["mean", "layers", "cls"] = Field(
        "mean", description="mean of tokens; means in the last and the middle layer; or CLS head"
    )
    pairs: Literal["together", "apart"] = Field(
        "together", description="two texts: read at once, or each on its own and then compared"
    )
    folds: int = Field(5, ge=2, le=50, description="number of cross-validation folds")
    holdout: float = Field(0.0, ge=0, lt=1, description="share held out instead of folds; 0: folds")
    holdout_split: Literal["", "dev"] = Field("", description="hold out this split instead")
    epochs: int = Field(5, ge=0, le=1000, description="passes over the training rows, at most")
    batch_size: int = Field(16, ge=1, description="examples per optimizer step and process")
    accumulation: int = Field(1, ge=1, description="batches per optimizer step")
    eval_batch_size: int = Field(64, ge=1, description="examples per forward pass outside training")
    max_length: int = Field(128, ge=4, description="tokens per text; longer texts are cut")
    lr: float | None = Field(
        None, gt=0, le=1, description="peak learning rate of the encoder; not set: by its width"
    )
    head_lr: float = Field(1e-3, gt=0, le=1, description="peak learning rate of the head")
    weight_decay: float = Field(
        0.01, ge=0, le=10, description="AdamW decay, not of biases and norms"
    )
    warmup: float = Field(
        0.1, ge=0, le=1e9, description="share of steps below 1, else number of steps"
    )
    max_grad_norm: float = Field(1.0, ge=0, description="gradient norm is cut to this; 0: never")
    hidden_dropout: float | None = Field(
        None, ge=0, lt=1, description="not set: as the encoder has it"
    )
    attention_dropout: float | None = Field(
        None, ge=0, lt=1, description="not set: as the encoder has it"
    )
    head_dropout: float = Field(0.1, ge=0, lt=1, description="before the last linear layer")
    freeze_embeddings: bool = Field(False, description="keep the embedding tables as they are")
    freeze_layers: int = Field(
        0,
        description=("lowest layers (with embeddings) kept as they are; -1: all but the last one"),
    )
    positive_weight: Literal["none", "sqrt", "balanced"] = Field(
        "none", description="loss weight of positives per label: (negatives / positives) ^ 0, .5, 1"
    )
    positive_weight_by: Literal["all", "language"] = Field(
        "all", description="rows that the positive weights are counted on: all, or each language's"
    )
    extra: tuple[str, ...] = Field(
        (), description="files of rows that every fold learns from; {lang} in a path: a language"
    )
    extra_weight: float = Field(
        1.0, gt=0, le=100, description="what an extra row counts for, against one of the task's"
    )
    transductive: bool = Field(
        False,
        description="dev and test may be read: as extra rows with soft labels, or by mlm_epochs",
    )
    mlm_epochs: int = Field(
        0,
        ge=0,
        le=1000,
        description="passes over the texts with masked tokens, before labels are learnt; 0: none",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of a label's certainty that is taken away; 0: none"
    )
    asymmetric: float = Field(
        0.0, ge=0, le=10, description="loss of easy negatives is weakened by p ^ this; 0: never"
    )
    rdrop: float = Field(
        0.0, ge=0, le=100, description="weight of two passes' difference by dropout; 0: one pass"
    )
    fgm: float = Field(
        0.0, ge=0, le=100, description="length of a step on the embeddings up the loss; 0: none"
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay per step of the averaged weights that are kept; 0: none"
    )
    average_epochs: int = Field(
        0, ge=0, description="last epochs whose weights' mean is kept; 0: none"
    )
    interpolation: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the trained weights in the encoder that is kept, the rest is as it "
        "came (WiSE-FT); 1: trained ones only",
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor of the learning rate from a layer to the one below"
    )
    multi_dropout: int = Field(
        1, ge=1, le=64, description="dropouts of the pooled text that the loss is a mean over"
    )
    select_by: Metric = Field("score", description="the epoch kept; score: the task's metric")
    patience: int = Field(0, ge=0, description="epochs without gain before stopping; 0: never")
    stop_by: Metric = Field("score", description="what patience watches")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the device is fast at it, else fp32"
    )
    checkpoint_minutes: float = Field(
        10.0, ge=0, le=1e6, description="a checkpoint within an epoch this often; 0: after epochs"
    )
    seed: int = Field(0, ge=0, description="of folds, head, dropout and order")
    seeds: int = Field(
        1, ge=1, le=50, description="models per fold, each with the next seed; their mean is used"
    )
    refold: bool = Field(
        False, description="with seeds: each on folds of its own, drawn by it; not with a hold-out"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_old_sentinels(cls, fields: Any) -> Any:
        from semeval_kit.run.layout import drop_old_sentinels  # not for --help: numpy is slow

        return drop_old_sentinels(fields)

    @field_validator("extra", mode="before")
    @classmethod
    def _split_at_commas(cls, files: Any) -> Any:
        return tuple(filter(None, files.split(","))) if isinstance(files, str) else files

    @model_validator(mode="after")
    def _agree(self) -> Recipe:
        apart = self.pairs == "apart" and self.pooling != "mean"
        for contradicts, told in (
            (self.holdout and self.holdout_split, "set holdout or holdout_split, not both"),
            (apart, "pairs = 'apart' compares means of tokens; set pooling = 'mean'"),
            (self.ema and self.average_epochs, "set ema or average_epochs, not both"),
            (
                self.patience and self.stop_by == "last",
                "stop_by = 'last' cannot be watched; name a metric",
            ),
        ):
            if contradicts:
                raise ValueError(told)
        return self

    def frozen(self) -> dict[str, Any]:
        """The fields as a run keeps them: without those that are not set."""
        fields = self.model_dump(mode="json", exclude_none=True)
        for name in _LATER:
            if getattr(self, name) == type(self).model_fields[name].default:
                fields.pop(name, None)
        return fields


@dataclass(frozen=True)
class Comparison:
    """What a recipe compares, beside the hyperparameters of its runs.

    Attributes:
        encoders: those that `sweep` trains if none is named.
        before: whether each encoder is measured before fine-tuning, too.
    """

    encoders: tuple[str, ...]
    before: bool


class Member(BaseModel):
    """One member of a system: a run, and its share of the blend."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="of its run")
    model: str | None = Field(
        None, description="as --model; * is the encoder that is asked for; not set: as the recipe"
    )
    recipe: str = Field("default", description="name or path")
    seed: int | None = Field(None, ge=0, description="not set: as the recipe says")
    weight: float | None = Field(None, ge=0, le=1, description="not set: chosen")
    fields: dict[str, Any] = Field(
        default_factory=dict, description="of the recipe that are other than it says"
    )

    @field_validator("fields")
    @classmethod
    def _know_fields(cls, fields: dict[str, Any]) -> dict[str, Any]:
        strange = sorted(set(fields) - (set(Recipe.model_fields) - {"encoder", "seed"}))
        if strange:
            raise ValueError(f"fields: {', '.join(strange)} is no field that a member may set")
        return fields


def peak_lr(recipe: Recipe, width: int) -> float:
    """The encoder's peak learning rate: as the recipe says, or by the encoder's width.

    Narrow encoders bear and need more: 1.2e-4 at width 384, 4e-5 at 768, 2.5e-5 at 1024. The
    curve goes through what was best for MiniLM (384) and usual for base encoders (768).
    """
    return 4e-5 * float(768 / width) ** 1.585 if recipe.lr is None else recipe.lr


def list_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return list_shipped("recipe")


def list_shipped(what: str) -> list[str]:
    """Names of the files of a sort that come with the kit: "recipe" or "space"."""
    files = resources.files("semeval_kit.training").joinpath(f"{what}s").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def read_toml(what: str, name_or_path: str) -> tuple[str, dict[str, Any]]:
    """The text of a shipped file by its name, or of one by its path, and what it says.

    Raises:
        KitError: there is no such file, or it is not TOML.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else None
        except UnicodeDecodeError as error:
            raise KitError(f"{path}: not UTF-8 text. Save the file as UTF-8.") from error
    else:
        file = resources.files("semeval_kit.training").joinpath(f"{what}s", f"{path.name}.toml")
        text = file.read_text(encoding="utf-8") if file.is_file() else None
    if text is None:
        raise KitError(
            f"{what} '{name_or_path}': not found. Known: {', '.join(list_shipped(what))}; "
            "or give the path of a .toml file."
        )
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of integers of 5,000 digits, of deep nesting
        raise KitError(f"{name_or_path}: not TOML: {error}.") from error


def load_recipe(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by name or path and lay the overrides over it.

    Raises:
        KitError: no such recipe, not TOML, an unknown field or a value out of range.
    """
    read = read_toml("recipe", name_or_path)[1]
    if "members" in read:
        raise KitError(
            f"recipe '{name_or_path}': lists the members of a system. Give it to "
            "`semeval-kit run` or `semeval-kit system`."
        )
    fields = {name: value for name, value in read.items() if name not in _COMPARED}
    return make_recipe({**fields, **(overrides or {})}, f"recipe '{name_or_path}'")


def load_comparison(name_or_path: str) -> Comparison:
    """Read what a recipe compares: the lines `sweep = ["...", "..."]` and `before = true`.

    Raises:
        KitError: no such recipe, not TOML, or a line is of another kind.
    """
    fields = read_toml("recipe", name_or_path)[1]
    encoders, before = fields.get("sweep", []), fields.get("before", False)
    if not isinstance(encoders, list) or not all(isinstance(n, str) and n for n in encoders):
        raise KitError(
            f"recipe '{name_or_path}': sweep: expected a list of encoders; got {encoders!r}."
        )
    if not isinstance(before, bool):
        raise KitError(f"recipe '{name_or_path}': before: expected true or false; got {before!r}.")
    return Comparison(tuple(encoders), before)


def load_members(name_or_path: str) -> tuple[Member, ...]:
    """Read the members that a recipe of a system lists: its tables `[[members]]`; () without any.

    Raises:
        KitError: no such recipe, not TOML, or a member cannot be used.
    """
    fields = read_toml("recipe", name_or_path)[1]
    tables = fields.pop("members", [])
    if tables and fields:
        raise KitError(
            f"recipe '{name_or_path}': has members, so {', '.join(fields)} must stand in them."
        )
    try:
        members = tuple(Member(**table) for table in tables)
    except (ValidationError, TypeError) as error:
        raise KitError(f"recipe '{name_or_path}': a member cannot be used.\n{error}") from error
    names = [member.name for member in members]
    if len(set(names)) < len(names) or len(names) == 1:
        raise KitError(f"recipe '{name_or_path}': needs two members or more, each with a name.")
    return members


def make_recipe(fields: Mapping[str, Any], where: str) -> Recipe:
    """Check fields and return them as a recipe.

    Raises:
        KitError: an unknown field or a value out of range; all of them are named.
    """
    try:
        return Recipe(**fields)
    except ValidationError as error:
        known = ", ".join(Recipe.model_fields)
        problems = [
            f"  {'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}"
            + (f" (known: {known})" if e["type"] == "extra_forbidden" else f"; got {e['input']!r}")
            for e in error.errors()
        ]
        raise KitError(f"{where}: cannot be used.\n" + "\n".join(problems)) from error
