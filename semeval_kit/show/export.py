"""Exporting a run: one folder with model, thresholds and card that transformers loads."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semeval_kit.decision.estimate import choose_metric
from semeval_kit.decision.resampling import Board
from semeval_kit.decision.rule import Thresholds
from semeval_kit.errors import KitError
from semeval_kit.files import read_json, write_atomic, write_json
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import read_answers
from semeval_kit.show.card import config_entries, make_card
from semeval_kit.show.folded_head import choose_layout, fold_mean_head
from semeval_kit.task.metric_facts import NUMERIC

if TYPE_CHECKING:
    from semeval_kit.training.head import Classifier

# Weights are safetensors; whatever else could run code when it is loaded stays behind.
_LEFT_BEHIND = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".py"}

# The manifest is of the files as they were in the run; a head is laid out in another way.
_OF_THE_RUN = {"MANIFEST.json", "head.json", "head.safetensors"}
_SENTENCE_MODULES = "sentence_transformers.models"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def export_model(run: Run, folder: Path, *, fold: int | None = None, licence: str = "") -> Path:
    """Write one fold's model with thresholds and card into a new folder.

    `transformers.pipeline("text-classification", model=folder)` loads it where the head can be
    folded into the encoder; else encoder and head are laid out as sentence-transformers does, and
    the card shows how to use them. Thresholds on raw probabilities stand in config.json too.

    Raises:
        KitError: the folder holds something, or the fold has no model.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KitError(f"{folder}: exists and is not empty. Choose another --to, or remove it.")
    if run.task.kind in NUMERIC:
        raise KitError(
            f"{run.path}: its task asks for numbers, and `pipeline()` answers with labels. Use "
            "`semeval-kit predict` with the run instead."
        )
    exported = choose_best_fold(run) if fold is None else fold
    source = run.model_dir(exported)
    if not (source / "config.json").is_file():
        last = run.n_folds - 1
        raise KitError(f"{source}: no model there. Choose a finished fold from 0 to {last}.")
    thresholds = Thresholds.from_json(read_json(run.thresholds_file))
    card = make_card(run, fold=exported, licence=licence)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _lay_model(source, staging)
        config = {**read_json(staging / "config.json"), **config_entries(run, thresholds)}
        # The folder on this machine that the encoder came from concerns nobody else.
        config.pop("_name_or_path", None)
        write_json(staging / "config.json", config)
        write_json(staging / "thresholds.json", thresholds.to_json())
        write_atomic(staging / "README.md", card)
        staging.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.replace(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return folder


def choose_best_fold(run: Run) -> int:
    """The fold that scores best on its held-out rows by the task's own metric, or the first such.

    Folds are scored on different rows, so this says little about new texts.
    """
    answers = read_answers(run, "oof")
    if run.n_folds == 1 or answers is None:
        return 0
    fold_of, scored = run.read_folds(), run.task.scoring.counted(run.task.all_labels)
    folds = np.array([fold_of[key] for key in answers.keys])

    def score(fold: int) -> float:
        rows = np.flatnonzero(folds == fold)
        languages = [answers.examples.languages[row] for row in rows]
        board = Board.of(choose_metric(run.task), answers.gold[rows], languages, scored)
        return board.score(answers.tuned[rows])

    return max(range(run.n_folds), key=lambda fold: (score(fold), -fold))


def push_model(folder: Path, repo_id: str, *, private: bool = False, api: Any = None) -> str:
    """Upload an exported folder to the hub and return its address.

    `api` stands in for `huggingface_hub.HfApi` in tests; an old repository stays as private as it
    is.

    Raises:
        KitError: no token in the environment, offline, a bad name, or the hub refuses.
    """
    if not _REPO_ID.fullmatch(repo_id):
        raise KitError(f"--repo-id '{repo_id}': expected OWNER/NAME, such as my-team/my-model.")
    missing = [n for n in ("config.json", "README.md") if not (Path(folder) / n).is_file()]
    if missing:
        raise KitError(f"{folder}: no exported model ({missing[0]} is missing). Export it first.")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"} and api is None:
        raise KitError("push: HF_HUB_OFFLINE is set. Unset it to reach the hub.")
    token = os.environ.get("HF_TOKEN", "")
    if not token:
        raise KitError(
            "push: no token. Set the environment variable HF_TOKEN to a token with write access; "
            "the kit reads it from there only and stores it nowhere."
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = api or HfApi(token=token)
    try:
        api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            folder_path=str(folder),
            repo_type="model",
            commit_message="Upload model, thresholds and card",
        )
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace(token, "[token]")
        raise KitError(
            f"push: the hub refused {repo_id}: {reason} Check the name and the token's rights."
        ) from error
    return f"https://huggingface.co/{repo_id}"


def _lay_model(source: Path, target: Path) -> None:
    """Copy a fold's model, with a mean head folded in or laid beside it."""
    for file in sorted(source.iterdir()):
        if file.is_symlink() or file.name in _OF_THE_RUN or file.suffix in _LEFT_BEHIND:
            continue
        if file.is_file():
            shutil.copyfile(file, target / file.name)
    layout, has_mean_head = choose_layout(source)
    from semeval_kit.training.encoder import load_model

    classifier = load_model(source)
    targets = classifier.targets
    beyond = {"apart": "the two texts of a pair apart", "layers": "two layers of its encoder"}
    if classifier.reads in beyond:
        raise KitError(
            f"{source}: this model reads {beyond[classifier.reads]}, which `pipeline()` cannot. "
            "Use `semeval-kit predict` with the run instead."
        )
    if not targets.fits_pipeline or (not has_mean_head and targets.columns != targets.names):
        raise KitError(
            f"{source}: this model has several targets, or numbers without a range, which "
            "`pipeline()` cannot tell apart. Use `semeval-kit predict` with the run instead."
        )
    if has_mean_head and layout == "pipeline":
        fold_mean_head(classifier).save_pretrained(target)
    elif has_mean_head:
        _lay_head_beside(classifier, target)


def _lay_head_beside(classifier: Classifier, target: Path) -> None:
    """Lay a mean head beside its encoder, as sentence-transformers does."""
    from safetensors.torch import save_file

    targets = classifier.targets
    width = classifier.backbone.config.hidden_size
    write_json(
        target / "config.json",
        {**read_json(target / "config.json"), **targets.config_entries(targets.names)},
    )
    for name in ("1_Pooling", "2_Dense"):
        (target / name).mkdir()
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"{_SENTENCE_MODULES}.{kind}"}
        for index, (path, kind) in enumerate(kinds.items())
    ]
    write_atomic(target / "modules.json", json.dumps(modules, indent=1))
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    write_json(target / "1_Pooling" / "config.json", pooling)
    function = "linear.Identity" if targets.exclusive else "activation.Sigmoid"
    dense = {"in_features": width, "out_features": len(targets.names), "bias": True}
    dense["activation_function"] = f"torch.nn.modules.{function}"
    write_json(target / "2_Dense" / "config.json", dense)
    assert classifier.head is not None
    state = classifier.head.state_dict()
    head = {f"linear.{n}": v[: len(targets.names)].contiguous() for n, v in state.items()}
    save_file(head, target / "2_Dense" / "model.safetensors")
