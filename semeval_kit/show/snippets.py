"""Runnable lines for a card: from a text to labels, with the run's own decisions."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Literal

import numpy as np

from semeval_kit.decision.rule import Thresholds
from semeval_kit.run.directory import Run
from semeval_kit.show.folded_head import can_fold

Layout = Literal["pipeline", "encoder-and-head"]

_PIPELINE = """from transformers import pipeline

folder = "."  # where config.json lies, or the model's name on the hub
classify = pipeline(
    "text-classification", model=folder, top_k=None, truncation=True, max_length={max_length}
)
scores = {{answer["label"]: answer["score"] for answer in classify([{text}])[0]}}
config = classify.model.config
"""
_ENCODER_AND_HEAD = """import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

folder = "."  # where config.json lies
tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
head, config = load_file(f"{{folder}}/2_Dense/model.safetensors"), encoder.config
batch = tokenizer([{text}], truncation=True, max_length={max_length}, return_tensors="pt")
with torch.no_grad():
    mean = encoder(**batch).last_hidden_state.mean(dim=1)
probs = (mean @ head["linear.weight"].T + head["linear.bias"]).{function}[0]
scores = {{config.id2label[column]: float(prob) for column, prob in enumerate(probs)}}
"""
_LIMITS = {
    "pipeline": (
        "The head reads the mean of the tokens and is folded into one more layer of the encoder. "
        "Load it in fp32 or bf16: fp16 and int8 cannot hold its constants and give nonsense."
    ),
    "encoder-and-head": (
        "The head reads the mean of the tokens and lies beside the encoder, laid out as "
        "sentence-transformers does; `pipeline()` would load the encoder without it. The encoder "
        "may be loaded in fp16 or bf16, which moves probabilities by up to about 0.01."
    ),
}
_MULTILABEL = """thresholds = config.thresholds[{language}]
print([label for label, cut in thresholds.items() if scores[label] >= cut])
"""
_SINGLELABEL = """print(max(scores, key=scores.get))
"""
_OFFSETS = """weights = config.label_weights
print(max(scores, key=lambda label: scores[label] * weights[label]))
"""
# The running AND: level m needs every event up to m.
_EVENTS = """thresholds = config.thresholds[{language}]
levels = {{}}
for event, cut in thresholds.items():
    label, level = event.rsplit(">=", 1)
    if scores[event] >= cut and levels.get(label, 0) == int(level) - 1:
        levels[label] = int(level)
print(levels)
"""
# The expected level is the sum of the probabilities of y >= 1, y >= 2, ...
_EXPECTED = """cuts = config.level_cuts[{language}]
levels = {{}}
for label, points in cuts.items():
    expected = sum(scores[event] for event in scores if event.rsplit(">=", 1)[0] == label)
    levels[label] = sum(expected >= point for point in points)
print({{label: level for label, level in levels.items() if level}})
"""
_TEXT = "I never thought you would do this to me!"


def write_snippet(run: Run, thresholds: Thresholds, fold: int | None) -> str:
    """Markdown with a code block: Python for an exported fold, commands for a run.

    Args:
        run: a finished run.
        thresholds: of the run.
        fold: the exported fold; None for the run as a whole.
    """
    if fold is None:
        name, quoted = shlex.quote(run.name), shlex.quote(_TEXT)
        return (
            f"```bash\nsemeval-kit predict submissions/{name} {quoted}\n"
            f"semeval-kit export submissions/{name} --to {name}-model\n```\n"
        )
    layout, has_mean_head = choose_layout(run.model_dir(fold))
    limits = f"\n{_LIMITS[layout]}\n" if has_mean_head else ""
    return f"```python\n{python_snippet(run, thresholds, layout)}```\n{limits}"


def choose_layout(model_dir: Path) -> tuple[Layout, bool]:
    """How a fold's model is exported, and whether its head reads the mean of the tokens.

    Args:
        model_dir: of a fold.
    """
    head_file = model_dir / "head.json"
    if not head_file.is_file():
        return "pipeline", False
    # Known by the folder's own manifest.
    head = json.loads(head_file.read_bytes())
    if head["pooling"] == "own":
        return "pipeline", False
    n_targets = sum(len(t["names"]) for t in head["targets"] if not t.get("auxiliary"))
    folds = can_fold(json.loads((model_dir / "config.json").read_bytes()), n_targets)
    return ("pipeline" if folds else "encoder-and-head"), True


def python_snippet(run: Run, thresholds: Thresholds, layout: Layout = "pipeline") -> str:
    """Python that loads an exported folder and decides one text."""
    kind, rule = run.task.kind, thresholds.intensity
    if kind == "intensity":
        decide = _EXPECTED if rule and rule.method == "expected_value" else _EVENTS
    else:
        decide = {"multilabel": _MULTILABEL, "singlelabel": _SINGLELABEL}[kind]
    if thresholds.offsets is not None:
        decide = _OFFSETS
    language = run.languages[0] if run.languages[0] in thresholds.values else "joint"
    load = _PIPELINE if layout == "pipeline" else _ENCODER_AND_HEAD
    return (load + decide).format(
        function="softmax(dim=-1)" if kind == "singlelabel" else "sigmoid()",
        max_length=run.recipe["max_length"],
        text=json.dumps(_TEXT),
        language=json.dumps(language),
    )


def config_entries(run: Run, thresholds: Thresholds) -> dict[str, Any]:
    """Entries for config.json, which transformers keeps: decisions per language and "joint".

    `thresholds` holds one number per target, and `level_cuts` (intensities decided by the expected
    level) the cut points of each label, `label_weights` (single labels with offsets) what each prob
    is multiplied by; a target that a language does not have is left out.
    """
    if run.task.kind == "singlelabel":
        if thresholds.offsets is None:
            return {}
        factors = np.exp(thresholds.offsets).tolist()
        return {"label_weights": dict(zip(thresholds.target_names, factors, strict=True))}
    rule = thresholds.intensity
    if rule is not None and rule.method == "expected_value":
        cuts = {**rule.cuts, "joint": rule.joint}
        return {
            "level_cuts": {
                language: {
                    label: [float(point) for point in row]
                    for label, row in zip(rule.label_names, table, strict=True)
                    if not np.isnan(row).any()
                }
                for language, table in cuts.items()
            }
        }
    values = {**thresholds.values, "joint": thresholds.joint}
    return {
        "thresholds": {
            language: {
                name: float(value)
                for name, value in zip(thresholds.target_names, row, strict=True)
                if not np.isnan(value)
            }
            for language, row in values.items()
        }
    }
