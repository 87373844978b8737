"""Archives: zips that strangers made, read in memory, with every known trick refused by name."""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from semeval_kit.errors import KitError

MAX_ENTRIES = 100
MAX_BYTES = 20_000_000
MAX_RATIO = 200
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


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
        KitError: there is no such file or folder, or it is neither.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file or folder. Give a zip or the folder to be zipped.")
    if path.stat().st_size > MAX_BYTES:
        raise KitError(
            f"{path}: larger than the cap of {MAX_BYTES / 1e6:g} MB. A submission holds prediction "
            "files only."
        )
    return read_zip(path.read_bytes(), str(path))


def read_zip(data: bytes, place: str) -> Contents:
    """Read the bytes of a zip; see `read_submission`."""
    contents = Contents(place, is_zip=True)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
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
        _check_duplicates(infos, contents)
        _check_overlap(infos, data, archive.start_dir, contents)
        for info in infos:
            if _is_safe(info, contents):
                _read_member(archive, info, contents)
    for name in sorted(set(contents.files) & set(contents.all_folders())):
        contents.refuse("file_and_folder", f"'{name}' is both a file and a folder. Zip again.")
    return contents


def is_macos_remains(name: str) -> bool:
    """Whether a path is what macOS leaves in zips, which the scorers skip."""
    parts = PurePosixPath(name).parts
    last = parts[-1] if parts else ""
    return "__MACOSX" in parts or last.startswith("._") or last == ".DS_Store"


def _is_too_much(infos: list[zipfile.ZipInfo], contents: Contents) -> bool:
    if len(infos) > MAX_ENTRIES:
        contents.refuse(
            "too_many_entries",
            f"{len(infos)} entries; at most {MAX_ENTRIES}. Zip predictions only.",
        )
        return True
    total = sum(info.file_size for info in infos)
    if total > MAX_BYTES:
        contents.refuse(
            "too_large",
            f"unpacks to {total / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:g}. Zip predictions only.",
        )
        return True
    return False


def _check_duplicates(infos: list[zipfile.ZipInfo], contents: Contents) -> None:
    seen: set[str] = set()
    for info in infos:
        if info.filename in seen:
            contents.refuse(
                "duplicate_member", f"member '{info.filename}' is there twice. Keep one of them."
            )
        seen.add(info.filename)


def _check_overlap(
    infos: list[zipfile.ZipInfo], data: bytes, central: int, contents: Contents
) -> None:
    """Refuse members that share bytes: Python up to 3.11.7 reads such bombs (CVE-2024-0450)."""
    spans = []
    for info in infos:
        start = info.header_offset
        header = data[start : start + _LOCAL_HEADER.size]
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


def _is_safe(info: zipfile.ZipInfo, contents: Contents) -> bool:
    name = info.orig_filename
    rule = _unsafe_path(name)
    mode = info.external_attr >> 16
    if rule is None and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        rule = ("symlink", "is a link or a special file. Zip the file itself")
    elif rule is None and info.flag_bits & 0x1:
        rule = ("encrypted", "is encrypted. Zip without a password")
    elif rule is None and info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        rule = ("compression", "is packed by a method that scorers may not read. Use deflate")
    elif rule is None and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        ratio = info.file_size / max(info.compress_size, 1)
        rule = ("ratio", f"unpacks to {ratio:.0f} times its size; at most {MAX_RATIO}. Zip again")
    if rule:
        contents.refuse(rule[0], f"member '{name}' {rule[1]}.")
    return rule is None


def _unsafe_path(name: str) -> tuple[str, str] | None:
    if "\\" in name:
        return "backslash", "has a backslash in its path. Zip with / as separator"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "absolute", "has an absolute path. Zip with paths below the zip's root"
    if ".." in PurePosixPath(name).parts:
        return "parent", "has '..' in its path. Zip with paths below the zip's root"
    if not name or any(ord(character) < 32 for character in name):
        return "bad_name", "has control characters in its name, or none. Rename the file"
    return None


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, contents: Contents) -> None:
    name = info.filename
    if is_macos_remains(name):
        contents.passed_over.append(name)
        return
    if info.is_dir():
        contents.folders.append(name.rstrip("/"))
        return
    try:
        with archive.open(info) as member:
            data = member.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        contents.refuse("damaged", f"member '{name}' cannot be read ({error}). Zip again.")
        return
    if len(data) != info.file_size:
        contents.refuse(
            "damaged",
            f"member '{name}' is {len(data)} bytes, declared {info.file_size}. Zip again.",
        )
    elif data.startswith(_ZIP_MAGIC):
        contents.refuse(
            "nested_zip", f"member '{name}' is a zip itself. Put its files in directly."
        )
    else:
        contents.files[name] = data


def _read_folder(path: Path) -> Contents:
    contents = Contents(str(path))
    total = 0
    entries = sorted(path.rglob("*"))
    if len(entries) > MAX_ENTRIES:
        contents.refuse(
            "too_many_entries", f"{len(entries)} entries; at most {MAX_ENTRIES}. Is it the folder?"
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
