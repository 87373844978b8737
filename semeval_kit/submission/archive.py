"""Archives: the zip or folder that is uploaded, read and written, and the layout of its files."""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.reference import Reference
from semeval_kit.errors import KitError
from semeval_kit.task.codec import LAYOUTS, spell_labels
from semeval_kit.task.schema import Member, Target
from semeval_kit.task.task import Task

MAX_ENTRIES = 100
MAX_BYTES = 20_000_000
MAX_RATIO = 200
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises on bytes that are no zip; ValueError for a seek to before the file."""


@dataclass(frozen=True)
class Block:
    """A target as a file spells it."""

    target: Target
    """With the labels, the layout and the marks of this file."""
    header: tuple[str, ...]
    """The columns of the file that hold it."""
    columns: slice
    """Its columns among the answers."""

    def spell(self, answers: NDArray[np.float64], number_format: str) -> tuple[str, ...]:
        """The cells of a row of answers, `(n_labels,)` of all targets."""
        return spell_labels(self.target, answers[self.columns], number_format)


def slice_answers(task: Task, labels: tuple[str, ...]) -> dict[str, slice]:
    """Target -> its columns among the columns of answers, whose names are `labels`."""
    main, slices, start = task.main_targets, dict[str, slice](), 0
    for target in main:
        width = len(labels) if len(main) == 1 else len(target.labels)
        slices[target.name] = slice(start, start + width)
        start += width
    return slices


def lay_out(task: Task, layout: Member, labels: tuple[str, ...]) -> tuple[Block, ...]:
    """The targets of a file in its order; `labels` are the columns of answers."""
    main = {target.name: target for target in task.main_targets}
    slices = slice_answers(task, labels)
    names = layout.targets or tuple(main)
    blocks = []
    for name in names:
        target, marks = main[name], dict[str, str]()
        columns = labels if len(main) == 1 else target.labels
        spelling = {label: layout.values.get(label, label) for label in columns}
        kind_of_layout, column = target.layout, target.column
        if len(names) == 1 and layout.label_layout in LAYOUTS[target.kind]:
            kind_of_layout, column = layout.label_layout, layout.label_column
            marks = {"joiner": layout.label_joiner, "none_word": layout.none_word}
        header: tuple[str, ...] = (layout.columns.get(name, column),)
        if kind_of_layout == "columns":
            header = tuple(layout.columns.get(label, label) for label in columns)
        spelled: dict[str, Any] = {
            "labels": tuple(spelling.values()),
            "scopes": tuple(spelling.get(scope, scope) for scope in target.scopes),
            "layout": kind_of_layout,
            "values": {},
            **marks,
        }
        blocks.append(Block(target.model_copy(update=spelled), header, slices[name]))
    return tuple(blocks)


def header_of(layout: Member, blocks: tuple[Block, ...]) -> tuple[str, ...]:
    """The columns of a prediction file, whether or not it has a header line."""
    names = tuple(name for block in blocks for name in block.header)
    return (*([layout.id_column] if layout.id_column else []), *layout.text_columns, *names)


def is_shared(task: Task, layout: Member) -> bool:
    """Whether one file holds the rows of all languages."""
    return "{lang}" not in layout.member and len(task.scoring.languages) > 1


def match_member(task: Task, path: str) -> tuple[int, str | None] | None:
    """Which kind of file of the zip, and which language, a path names; None if neither.

    The language is None for a file that holds all of them, and may be one that the task lacks.
    """
    matches = []
    for number, layout in enumerate(task.submission.layouts):
        match = layout.name_pattern.fullmatch(PurePosixPath(path).name)
        if match:
            alone = None if is_shared(task, layout) else task.scoring.languages[0]
            matches.append((number, match.groupdict().get("lang", alone)))
    languages = (None, *task.scoring.languages)
    return next(
        (entry for entry in matches if entry[1] in languages), matches[0] if matches else None
    )


def join_references(references: Sequence[Reference]) -> Reference:
    """What a file that holds all languages has to match: their rows, one language after another."""
    first = references[0]
    return replace(
        first,
        language="",
        place=", ".join(dict.fromkeys(reference.place for reference in references)),
        ids=tuple(row_id for reference in references for row_id in reference.ids),
        gold=None,
        cells=tuple(cells for reference in references for cells in reference.cells),
    )


@dataclass(frozen=True)
class Hazard:
    """Something in an archive or folder that is refused: the rule it breaks and what to do."""

    rule: str
    message: str


@dataclass
class Contents:
    """The files of a submission, by path with `/`, and what was refused or passed over."""

    place: str
    files: dict[str, bytes] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    hazards: list[Hazard] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    """Remains of macOS, which scorers skip: __MACOSX, ._*, .DS_Store."""
    is_zip: bool = False

    def all_folders(self) -> list[str]:
        """Folders with an entry of their own, and those that paths of files imply, sorted."""
        implied = {
            str(parent)
            for name in self.files
            for parent in PurePosixPath(name).parents
            if str(parent) not in (".", "/")
        }
        return sorted({*self.folders, *implied})

    def refuse(self, rule: str, message: str) -> None:
        """Note a hazard."""
        self.hazards.append(Hazard(rule, f"{self.place}: {message}"))


def read_submission(path: str | Path) -> Contents:
    """Read a zip or a folder into memory; nothing is ever extracted.

    What looks dangerous is in `hazards` and its bytes are not in `files`.

    Raises:
        KitError: there is no such file or folder, it is neither, or it cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _read_folder(path)
        if not path.is_file():
            raise KitError(
                f"{path}: no such file or folder. Give a zip or the folder to be zipped."
            )
        if path.stat().st_size > MAX_BYTES:
            raise KitError(
                f"{path}: larger than the cap of {MAX_BYTES / 1e6:g} MB. A submission holds "
                "prediction files only."
            )
        return read_zip(path.read_bytes(), str(path))
    except OSError as error:
        raise KitError(f"{path}: cannot be read ({error.strerror}).") from error


def read_zip(data: bytes, place: str) -> Contents:
    """Read the bytes of a zip; see `read_submission`.

    A member's path is the one that unpacking gives it: `./a//b` is `a/b`.
    """
    contents = Contents(place, is_zip=True)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _UNREADABLE as error:
        what = "a CSV file, not a zip" if place.lower().endswith((".csv", ".tsv", ".txt")) else ""
        contents.refuse(
            "not_a_zip",
            f"this is {what or f'not a zip ({error})'}. Upload a zip of the predictions.",
        )
        return contents
    with archive:
        infos = archive.infolist()
        if _is_too_much(infos, contents):
            return contents
        for name, count in Counter(_unpacked_name(info.filename) for info in infos).items():
            if count > 1 and name:
                contents.refuse(
                    "duplicate_member", f"member '{name}' is there twice. Keep one of them."
                )
        _check_overlap(infos, data, archive.start_dir, contents)
        for info in infos:
            hazard = _find_hazard(info)
            if hazard:
                contents.refuse(hazard.rule, f"member '{info.orig_filename}' {hazard.message}.")
            else:
                _read_member(archive, info, contents)
    for name in sorted(set(contents.files) & set(contents.all_folders())):
        contents.refuse("file_and_folder", f"'{name}' is both a file and a folder. Zip again.")
    return contents


def make_zip(members: Mapping[str, bytes]) -> bytes:
    """A zip of {path: bytes}; the same members give the same bytes.

    Sorted members, fixed times and permissions, and no compression, because zlib's output differs
    between its versions; a submission of 28 languages is 2 MB.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()


def is_macos_remains(name: str) -> bool:
    """Whether a path is what macOS leaves in zips, which the scorers skip."""
    parts = PurePosixPath(name).parts
    last = parts[-1] if parts else ""
    return "__MACOSX" in parts or last.startswith("._") or last == ".DS_Store"


def _is_too_much(infos: list[zipfile.ZipInfo], contents: Contents) -> bool:
    total = sum(info.file_size for info in infos)
    if len(infos) > MAX_ENTRIES:
        contents.refuse(
            "too_many_entries",
            f"{len(infos)} entries; at most {MAX_ENTRIES}. Zip predictions only.",
        )
    elif total > MAX_BYTES:
        contents.refuse(
            "too_large",
            f"unpacks to {total / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:g}. Zip predictions only.",
        )
    return bool(contents.hazards)


def _check_overlap(
    infos: list[zipfile.ZipInfo], data: bytes, central: int, contents: Contents
) -> None:
    """Refuse members that share bytes: Python up to 3.11.7 reads such bombs (CVE-2024-0450)."""
    spans = []
    for info in infos:
        start = info.header_offset
        header = data[start : start + _LOCAL_HEADER.size] if start >= 0 else b""
        if len(header) < _LOCAL_HEADER.size:
            contents.refuse("damaged", f"member '{info.filename}' has no local header. Zip again.")
            return
        *_, name_size, extra_size = _LOCAL_HEADER.unpack(header)
        end = start + _LOCAL_HEADER.size + name_size + extra_size + info.compress_size
        spans.append((start, end, info.filename))
    spans.sort()
    following = [*(start for start, _, _ in spans[1:]), central][: len(spans)]
    for (_, end, name), after in zip(spans, following, strict=True):
        if end > after:
            contents.refuse("overlap", f"member '{name}' overlaps what follows it. Zip again.")


def _find_hazard(info: zipfile.ZipInfo) -> Hazard | None:
    """What makes a member unsafe to read or to unpack; the message lacks its name."""
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    ratio = info.file_size / max(info.compress_size, 1)
    below = "Zip with paths below the zip's root"
    for is_so, rule, message in (
        ("\\" in name, "backslash", "has a backslash in its path. Zip with / as separator"),
        (
            name.startswith("/") or re.match(r"[A-Za-z]:", name),
            "absolute",
            f"has an absolute path. {below}",
        ),
        (".." in PurePosixPath(name).parts, "parent", f"has '..' in its path. {below}"),
        (
            not (_unpacked_name(name) or name.endswith("/"))
            or any(ord(mark) < 32 for mark in name),
            "bad_name",
            "has control characters in its name, or none. Rename the file",
        ),
        (
            kind not in (0, stat.S_IFREG, stat.S_IFDIR),
            "symlink",
            "is a link or a special file. Zip the file itself",
        ),
        (info.flag_bits & 0x1, "encrypted", "is encrypted. Zip without a password"),
        (
            info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
            "compression",
            "is packed by a method that scorers may not read. Use deflate",
        ),
        (
            ratio > MAX_RATIO,
            "ratio",
            f"unpacks to {ratio:.0f} times its size; at most {MAX_RATIO}. Zip again",
        ),
    ):
        if is_so:
            return Hazard(rule, message)
    return None


def _unpacked_name(name: str) -> str:
    """The path that Python's and others' unpacking gives a member."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, contents: Contents) -> None:
    name = _unpacked_name(info.filename)
    if info.filename.endswith("/"):
        if is_macos_remains(name):
            contents.passed_over.append(info.filename)
        elif name:
            contents.folders.append(name)
        return
    try:
        with archive.open(info) as member:
            data = member.read(MAX_BYTES + 1)
    except _UNREADABLE as error:
        # Also remains of macOS: whoever unpacks the zip stops here.
        contents.refuse("damaged", f"member '{name}' cannot be read ({error}). Zip again.")
        return
    if len(data) != info.file_size:
        contents.refuse(
            "damaged",
            f"member '{name}' is {len(data)} bytes, declared {info.file_size}. Zip again.",
        )
    elif is_macos_remains(name):
        contents.passed_over.append(info.filename)
    elif data.startswith(_ZIP_MAGIC):
        contents.refuse(
            "nested_zip", f"member '{name}' is a zip itself. Put its files in directly."
        )
    else:
        contents.files[name] = data


def _read_folder(path: Path) -> Contents:
    contents = Contents(str(path))
    total = 0
    entries = sorted(islice(path.rglob("*"), MAX_ENTRIES + 1))
    if len(entries) > MAX_ENTRIES:
        contents.refuse(
            "too_many_entries", f"more than {MAX_ENTRIES} entries. Is it the folder of predictions?"
        )
        return contents
    for entry in entries:
        name = entry.relative_to(path).as_posix()
        if is_macos_remains(name):
            contents.passed_over.append(name)
        elif entry.is_symlink():
            contents.refuse("symlink", f"'{name}' is a link. Put the file itself there.")
        elif entry.is_dir():
            contents.folders.append(name)
        elif not entry.is_file():
            contents.refuse("symlink", f"'{name}' is a special file. Remove it.")
        else:
            total += entry.stat().st_size
            if total > MAX_BYTES:
                contents.refuse("too_large", f"holds more than {MAX_BYTES / 1e6:g} MB.")
                return contents
            data = entry.read_bytes()
            if data.startswith(_ZIP_MAGIC):
                contents.refuse("nested_zip", f"'{name}' is a zip itself. Unpack it.")
            else:
                contents.files[name] = data
    return contents
