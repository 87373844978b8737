"""Delimited files: bytes to records."""

from __future__ import annotations

import pytest

from semeval_kit.data.table import MAX_SHOWN, Form, Problems, read_table
from semeval_kit.errors import KitError


def write(tmp_path, data: bytes):
    path = tmp_path / "file.csv"
    path.write_bytes(data)
    return path


def test_records_carry_the_physical_line_on_which_they_start(tmp_path):
    table = read_table(write(tmp_path, b'a,b\n1,"two\nlines"\n\n3,x\n'))
    assert [(r.line, r.cells) for r in table.records] == [
        (1, ("a", "b")),
        (2, ("1", "two\nlines")),
        (5, ("3", "x")),
    ]
    assert table.notes == ("1 blank line skipped",)


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (b"\xef\xbb\xbfa,b\n1,2\n", "byte order mark"),
        (b"a,b\r\n1,2\r\n", "CRLF"),
        (b"a,b\r1,2\r", "CR line ends"),
    ],
)
def test_byte_order_mark_and_line_ends_are_accepted_and_told(tmp_path, data, note):
    table = read_table(write(tmp_path, data))
    assert [r.cells for r in table.records] == [("a", "b"), ("1", "2")]
    assert note in table.notes[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b\n1,\xff\n", "file.csv, line 2: byte 0xff is not UTF-8"),
        (b"a,b\n1,2\n3,\x00\n", "file.csv, line 3: holds a NUL byte"),
        ("a,b\n".encode("utf-16"), "this is UTF-16 text"),
        (b'a,b\n1,2\n3,"open\n4,5\n', "line 3: a quote opens here and never closes"),
    ],
)
def test_damaged_files_are_refused_with_the_line(tmp_path, data, words):
    with pytest.raises(KitError) as caught:
        read_table(write(tmp_path, data))
    assert words in str(caught.value)


def test_every_line_that_is_not_utf8_is_named(tmp_path):
    with pytest.raises(KitError) as caught:
        read_table(write(tmp_path, b"\xff\nfine\n\xfe\n"))
    assert [line.split(": ")[0][-6:] for line in str(caught.value).splitlines()] == [
        "line 1",
        "line 3",
    ]


def test_a_file_over_the_cap_is_refused(tmp_path):
    with pytest.raises(KitError, match=r"0\.1 MB is over the cap of 0\.05 MB"):
        read_table(write(tmp_path, b"x" * 100_000), Form(max_bytes=50_000))


def test_unquoted_text_keeps_its_quotes(tmp_path):
    table = read_table(
        write(tmp_path, b'1\t"so" she said\t0\n'), Form(delimiter="\t", quoted=False)
    )
    assert table.records[0].cells == ("1", '"so" she said', "0")


def test_lines_can_be_split_from_the_right(tmp_path):
    path = write(tmp_path, b"well; that was; fun;joy\n\nbad day;sadness\n")
    table = read_table(path, Form(delimiter=";", quoted=False, split_from_right=1))
    assert [r.cells for r in table.records] == [
        ("well; that was; fun", "joy"),
        ("bad day", "sadness"),
    ]
    assert [r.line for r in table.records] == [1, 3]


def test_problems_beyond_the_cap_are_counted():
    problems = Problems("file.csv")
    for line in range(1, 31):
        problems.add(f"bad {line}", line)
    with pytest.raises(KitError) as caught:
        problems.raise_if_any()
    lines = str(caught.value).splitlines()
    assert len(lines) == MAX_SHOWN + 1
    assert lines[-1] == "file.csv: and 10 more problems of this file"


def test_the_same_problem_of_several_lines_is_one_sentence():
    problems = Problems("file.csv")
    for line in range(2, 9):
        problems.add("bad", line, "rule")
    problems.add("worse", 4)
    assert problems.lines == [
        "file.csv, lines 2, 3, 4, 5, 6, ... (7 rows): bad",
        "file.csv, line 4: worse",
    ]
    assert (problems.rules, problems.count, problems.n_hidden) == (["rule", ""], 8, 0)


@pytest.mark.parametrize(
    "data", [b'a,b\n1,"x"', b'a,b\n1,"x"\n', b'a,b\r1,"x"\r', b'a,b\n1,"x""y"', b'a,b\n1,"x\n"']
)
def test_a_quote_that_closes_at_the_end_of_the_file_is_closed(tmp_path, data):
    assert len(read_table(write(tmp_path, data)).records) == 2
