"""Zips that strangers made: every trick is refused by name."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib

import pytest

from semeval_kit.errors import KitError
from semeval_kit.submission import archive
from semeval_kit.submission.archive import read_submission, read_zip

CSV = b"id,anger\n1,0\n"


def zip_bytes(*members: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def rules_of(data: bytes) -> list[str]:
    return [hazard.rule for hazard in read_zip(data, "x.zip").hazards]


def test_a_plain_zip_is_read():
    contents = read_zip(zip_bytes(("track_a/pred_eng.csv", CSV)), "x.zip")
    assert contents.files == {"track_a/pred_eng.csv": CSV}
    assert contents.all_folders() == ["track_a"]
    assert not contents.hazards


@pytest.mark.parametrize(
    ("name", "rule", "words"),
    [
        ("../pred_eng.csv", "parent", "'../pred_eng.csv' has '..' in its path"),
        ("a/../../pred_eng.csv", "parent", "has '..'"),
        ("/pred_eng.csv", "absolute", "'/pred_eng.csv' has an absolute path"),
        ("C:/pred_eng.csv", "absolute", "has an absolute path"),
        ("a\\pred_eng.csv", "backslash", "'a\\pred_eng.csv' has a backslash"),
        ("pred_\neng.csv", "bad_name", "control characters"),
        (".", "bad_name", "in its name, or none"),
    ],
)
def test_unsafe_paths_are_refused_by_name(name, rule, words):
    contents = read_zip(zip_bytes((name, CSV)), "x.zip")
    assert [hazard.rule for hazard in contents.hazards] == [rule]
    assert words in contents.hazards[0].message
    assert contents.files == {}


def test_a_member_without_a_name_is_refused():
    data = bytearray(zip_bytes(("x", CSV)))
    central = data.index(b"PK\x01\x02")
    data[central + 28 : central + 32] = struct.pack("<HH", 0, 1)
    assert rules_of(bytes(data)) == ["bad_name"]


def test_symlinks_are_refused():
    info = zipfile.ZipInfo("pred_eng.csv")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert rules_of(zip_bytes((info, b"/etc/passwd"))) == ["symlink"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_members_are_refused():
    assert rules_of(zip_bytes(("pred_eng.csv", CSV), ("pred_eng.csv", CSV))) == ["duplicate_member"]


def test_nested_zips_are_refused():
    assert rules_of(zip_bytes(("inner.zip", zip_bytes(("pred_eng.csv", CSV))))) == ["nested_zip"]


def test_a_path_that_is_both_file_and_folder_is_refused():
    data = zip_bytes(("pred_eng.csv", CSV), ("pred_eng.csv/x", CSV))
    assert rules_of(data) == ["file_and_folder"]


def test_encrypted_members_are_refused():
    data = bytearray(zip_bytes(("pred_eng.csv", CSV)))
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1
    assert rules_of(bytes(data)) == ["encrypted"]


def test_other_compressions_are_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("pred_eng.csv", CSV)
    assert rules_of(buffer.getvalue()) == ["compression"]


def test_bombs_are_refused_by_ratio_size_and_count(monkeypatch):
    assert rules_of(zip_bytes(("pred_eng.csv", b"0" * 1_000_000))) == ["ratio"]
    many = zip_bytes(*((f"pred_{i}.csv", b"") for i in range(101)))
    assert rules_of(many) == ["too_many_entries"]
    monkeypatch.setattr(archive, "MAX_BYTES", 10)
    assert rules_of(zip_bytes(("pred_eng.csv", CSV))) == ["too_large"]


def test_a_lying_size_is_refused():
    """The directory declares fewer bytes than the member unpacks to."""
    data = bytearray(zip_bytes(("pred_eng.csv", CSV)))
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<L", 5)
    assert rules_of(bytes(data)) == ["damaged"]


def test_damaged_bytes_are_refused():
    data = bytearray(zip_bytes(("pred_eng.csv", CSV)))
    data[data.index(b"pred_eng.csv") + 14] ^= 0xFF
    assert rules_of(bytes(data)) == ["damaged"]


def overlapping_zip() -> bytes:
    """Two directory entries that share one member's bytes (CVE-2024-0450)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(CSV) + packer.flush()
    crc = zlib.crc32(CSV)
    names = (b"pred_eng.csv", b"pred_deu.csv")
    local = struct.pack(
        "<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 33, crc, len(packed), len(CSV), len(names[0]), 0
    )
    body = local + names[0] + packed
    central = b"".join(
        struct.pack(
            "<4s6H3L5H2L",
            b"PK\x01\x02", 20, 20, 0, 8, 0, 33, crc, len(packed), len(CSV), len(name),
            0, 0, 0, 0, 0, 0,
        )
        + name
        for name in names
    )  # fmt: skip
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(central), len(body), 0)
    return body + central + end


def test_overlapping_members_are_refused():
    assert "overlap" in rules_of(overlapping_zip())


def test_remains_of_macos_are_passed_over():
    data = zip_bytes(
        ("pred_eng.csv", CSV), ("__MACOSX/._pred_eng.csv", b"x"), (".DS_Store", b"x"), ("._a", b"")
    )
    contents = read_zip(data, "x.zip")
    assert list(contents.files) == ["pred_eng.csv"]
    assert contents.passed_over == ["__MACOSX/._pred_eng.csv", ".DS_Store", "._a"]


@pytest.mark.parametrize("data", [b"", b"id,anger\n1,0\n", b"PK\x03\x04 no zip", b"PK\x05\x06"])
def test_what_is_no_zip_is_called_so(tmp_path, data):
    path = tmp_path / "pred_eng.csv"
    path.write_bytes(data)
    hazards = read_submission(path).hazards
    assert [hazard.rule for hazard in hazards] == ["not_a_zip"]
    assert "this is a CSV file, not a zip" in hazards[0].message


def test_folders_are_read_and_links_in_them_refused(tmp_path):
    folder = tmp_path / "track_a"
    folder.mkdir()
    (folder / "pred_eng.csv").write_bytes(CSV)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "pred_deu.csv").symlink_to(folder / "pred_eng.csv")
    contents = read_submission(tmp_path)
    assert contents.files == {"track_a/pred_eng.csv": CSV}
    assert contents.passed_over == ["track_a/.DS_Store"]
    assert [hazard.rule for hazard in contents.hazards] == ["symlink"]


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(KitError, match="no such file or folder"):
        read_submission(tmp_path / "none.zip")


@pytest.mark.parametrize(
    "name", ["./track_a/pred_eng.csv", "track_a//pred_eng.csv", "track_a/./pred_eng.csv"]
)
def test_a_member_has_the_path_that_unpacking_gives_it(name):
    contents = read_zip(zip_bytes((name, CSV)), "x.zip")
    assert contents.files == {"track_a/pred_eng.csv": CSV}
    assert not contents.hazards


def test_two_spellings_of_a_path_are_one_member():
    assert rules_of(zip_bytes(("a/pred_eng.csv", CSV), ("./a//pred_eng.csv", CSV))) == [
        "duplicate_member"
    ]


def test_a_member_before_the_file_begins_is_damage():
    """The directory says that a member lies 4 bytes before it can."""
    data = bytearray(zip_bytes(("pred_eng.csv", CSV)))
    end = data.rindex(b"PK\x05\x06")
    directory = struct.unpack("<L", data[end + 16 : end + 20])[0]
    data[end + 16 : end + 20] = struct.pack("<L", directory + 4)
    assert set(rules_of(bytes(data))) == {"damaged"}


def test_remains_of_macos_that_cannot_be_unpacked_are_damage():
    data = bytearray(zip_bytes(("pred_eng.csv", CSV), ("__MACOSX/._pred_eng.csv", b"abcabcabc")))
    packed = data.index(b"._pred_eng.csv") + len("._pred_eng.csv")
    data[packed] ^= 0xFF
    contents = read_zip(bytes(data), "x.zip")
    assert [hazard.rule for hazard in contents.hazards] == ["damaged"]
    assert contents.files == {"pred_eng.csv": CSV}


def test_a_folder_with_too_many_files_is_not_read(tmp_path):
    for i in range(101):
        (tmp_path / f"{i}.csv").write_bytes(CSV)
    contents = read_submission(tmp_path)
    assert [hazard.rule for hazard in contents.hazards] == ["too_many_entries"]
    assert not contents.files


def test_what_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    path.write_bytes(zip_bytes(("pred_eng.csv", CSV)))

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(KitError, match=r"x\.zip: cannot be read \(Permission denied\)"):
        read_submission(path)
