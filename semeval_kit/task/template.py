"""A new task file, from the template that explains every key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from semeval_kit.errors import KitError

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]*"


def write_template(path: Path, shape: Mapping[str, Any] | None = None) -> None:
    """Write a commented task file that can be loaded; its name is that of the file.

    Raises:
        KitError: the path does not end in .toml, its name does not suit a task, it exists, or the
            template has no such key.
    """
    name = path.stem
    if path.suffix != ".toml" or not re.fullmatch(NAME_PATTERN, name):
        raise KitError(
            f"{path}: a task file is named in lower case and ends in .toml, such as "
            "semeval2027-task5.toml. Choose another name."
        )
    if path.exists():
        raise KitError(f"{path}: is there already. Remove it or choose another name.")
    template = resources.files("semeval_kit.task") / "template.toml"
    text = template.read_text("utf-8").format(name=name, path=path)
    for key, value in (shape or {}).items():
        text = _set_key(text, key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _set_key(text: str, key: str, value: Any) -> str:
    """Give a key of the template a value, and take the # from its line."""
    section, _, name = key.rpartition(".")
    lines, here = text.split("\n"), ""
    for number, line in enumerate(lines):
        here = line[1:-1] if line.startswith("[") else here
        if here == section and re.match(rf"(# )?{re.escape(name)} = ", line):
            comment = re.search(r"\s+# *(.*)$", line.removeprefix("# "))
            words = re.sub(r"^TODO\W*", "", comment.group(1)) if comment else ""
            spelled = f"{name} = {json.dumps(value, ensure_ascii=False)}"
            lines[number] = f"{spelled:<34} # {words}" if words else spelled
            return "\n".join(lines)
    raise KitError(f"{key}: the template has no such key. Choose one of its own.")
