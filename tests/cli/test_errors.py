"""No traceback reaches a person: what nobody foresaw is told, with what to do."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from semeval_kit import files
from semeval_kit.cli import main
from semeval_kit.cli.options import WordsOption
from semeval_kit.errors import KitError, explain_error
from semeval_kit.run import stages
from semeval_kit.run.directory import Run


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def copied(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished tiny run, to be changed."""
    return Path(shutil.copytree(trained_run, tmp_path / "tiny"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: no permission. Change"),
        (OSError(errno.EROFS, "Read-only", "a"), "a: the disk is read-only."),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full. Make room"),
        (OSError(errno.ENAMETOOLONG, "long", "x" * 999), "the name is too long for the file"),
        (OSError(errno.EBUSY, "Device or resource busy", "a"), "a: Device or resource busy. Check"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "not UTF-8 (byte 1)"),
        (RecursionError(), "nested too deeply"),
        (MemoryError(), "out of memory"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero\nThis is a"),
        (KitError("as it is"), "as it is"),
        (
            RuntimeError("CUDA error: no kernel image is available for execution on the device"),
            "That is: the installed torch has no code for this GPU.",
        ),
        (
            RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
            "That is: the GPU takes one process at a time. Train fewer folds",
        ),
        (RuntimeError("NCCL error in: x.cpp:12"), "Try NCCL_P2P_DISABLE=1"),
        (RuntimeError("CUDA error: unspecified launch failure"), "goes on from the last"),
        (RuntimeError("CUDA error: out of memory"), "Lower batch_size"),
        (RuntimeError("CUDA error: device-side assert triggered"), "a fault of semeval-kit"),
    ],
)
def test_what_nobody_foresaw_says_what_to_do(error: Exception, told: str) -> None:
    assert told in explain_error(error).message
    assert len(explain_error(error).message) < 500


def test_the_command_line_tells_it_without_a_traceback(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(copied / "estimate.json"))

    monkeypatch.setattr(stages, "tune", fail)
    result = call("tune", copied)
    assert result.exit_code == 1
    assert result.output == (
        f"Error: {copied}/estimate.json: the disk is full. Make room and run the same command: "
        "it goes on.\n"
    )
    monkeypatch.setenv("SEMEVAL_KIT_DEBUG", "1")
    assert isinstance(call("tune", copied).exception, OSError)


@pytest.mark.parametrize("stage", ["train", "tune"])
def test_an_interrupt_ends_with_130_and_says_how_to_go_on(
    copied: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, stage, interrupt)
    result = call(stage, copied)
    assert result.exit_code == 130
    assert "interrupted; the same command goes on where it stopped" in result.stderr


@pytest.mark.parametrize("stage", ["tune", "pack", "report"])
def test_a_full_disk_leaves_the_run_as_it_was(
    copied: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """The disk takes nothing any more: the old files stay, and no half-written ones."""
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    if stage == "tune":
        for path in (copied / "estimate.json", copied / "thresholds.json"):
            files.remove_kept(path)
            before.pop(path)
        before[copied / "SHA256SUMS"] = (copied / "SHA256SUMS").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = call(stage, copied)
    assert result.exit_code == 1, result.output
    assert "he disk is full. Make room" in result.output
    monkeypatch.undo()
    after = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    assert after == before
    assert call(stage, copied).exit_code == 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="not a POSIX system")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_signals_that_end_a_program_say_how_to_go_on(name: str) -> None:
    code = (
        "import os, signal, semeval_kit.cli as cli\n"
        f"signal.signal(signal.{name}, signal.SIG_DFL)  # tests may be under nohup\n"
        f"cli.main = lambda: os.kill(os.getpid(), signal.{name})\n"
        "cli.start()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 128 + getattr(signal, name)
    assert ended.stderr == f"\nstopped by {name}; the same command goes on where it stopped\n"


READERS: dict[str, Callable[[Path], list[Any]]] = {
    "prepare": lambda run: ["--task", "demo", "--submissions", run.parent, "--run", run.name],
    "tune": lambda run: [run],
    "pack": lambda run: [run],
    "probs": lambda run: [run],
    "train": lambda run: [run],
    "report": lambda run: [run],
    "card": lambda run: [run],
    "paper": lambda run: [run],
    "figures": lambda run: [run],
    "compare": lambda run: [run],
}


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("content", ["{}", "{", "[]", '{"task": 1}', "", "nul\0", "\u00ff"])
def test_a_damaged_run_json_is_told(copied: Path, command: str, content: str) -> None:
    (copied / "run.json").write_bytes(content.encode("latin-1"))
    for noted in (False, True):
        if noted:
            files.write_kept(copied / "run.json", (copied / "run.json").read_bytes())
        result = call(command, *READERS[command](copied))
        assert result.exit_code == 1, result.output
        assert "run.json" in result.output
        assert isinstance(result.exception, SystemExit)
        assert "fault of semeval-kit" not in result.output


ODD = {
    "UTF-16": 'name = "x"'.encode("utf-16"),
    "bad UTF-8": b'name = "\xff\xfe"',
    "nested": b"a = " + b"[" * 10_000 + b"]" * 10_000,
    "digits": b"a = " + b"9" * 5_000,
    "empty": b"",
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("option", ["--task", "--recipe"])
def test_odd_task_and_recipe_files_are_told(
    tiny_data: Path, tmp_path: Path, option: str, kind: str
) -> None:
    (tmp_path / "odd.toml").write_bytes(ODD[kind])
    words = ["--data", tiny_data, "--submissions", tmp_path, option, tmp_path / "odd.toml"]
    result = call("prepare", *words, "--langs", "eng", "--run", "mine")
    assert result.exit_code == (0 if (option, kind) == ("--recipe", "empty") else 1)
    if result.exit_code:
        assert "odd.toml" in result.output
        assert "fault of semeval-kit" not in result.output
        assert len(result.output) < 5_000


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--train-splits", ""], 2, "expected train, dev or train,dev"),
        (["--train-splits", "train,test"], 2, "expected train, dev or train,dev"),
        (["--data", "~nosuchuser/x"], 2, "there is no such user"),
        (["--submissions", "~nosuchuser/x"], 2, "there is no such user"),
        (["--model", "~nosuchuser/x"], 1, "there is no such user"),
        (["--lr", "inf"], 1, "lr: Input should be"),
        (["--lr", "2e5"], 1, "lr: Input should be less than or equal to 1"),
        (["--holdout", "0.999999"], 1, "so there is nothing to learn from"),
        (["--holdout", "0.000001"], 1, "so there is nothing to judge by"),
    ],
)
def test_odd_options_are_told_and_lock_no_name(
    tiny_data: Path, tmp_path: Path, options: list[str], code: int, told: str
) -> None:
    plan = ["--task", "semeval2025-task11-a", "--langs", "eng", "--run", "mine"]
    plan += ["--data", str(tiny_data), "--submissions", str(tmp_path)]
    result = call("prepare", *plan, *options)
    assert result.exit_code == code, result.output
    assert told in result.output
    assert not (tmp_path / "mine").exists()
    assert call("prepare", *plan, "--train-splits", "train,train").exit_code == 0


def test_lists_that_are_given_twice_are_joined(tiny_data: Path, tmp_path: Path) -> None:
    """Elsewhere the last of two options wins: half of the languages would be lost in silence."""
    words = ["--task", "semeval2025-task11-a", "--data", tiny_data, "--submissions", tmp_path]
    lists = ["--langs", "eng", "--langs", "deu", "--train-splits", "dev", "--train-splits", "train"]
    result = call("prepare", *words, *lists, "--run", "mine")
    assert result.exit_code == 0, result.output
    settings = Run.open(tmp_path / "mine").settings
    assert (settings["languages"], settings["train_splits"]) == (["eng", "deu"], ["dev", "train"])
    wrong = call("prepare", *words, "--langs", "eng", "--langs", "xyz", "--run", "other")
    assert "xyz" in wrong.output
    context = click.Context(main)
    pending = [main.get_command(context, name) for name in main.list_commands(context)]
    lists_of = {"langs", "train_langs", "train_splits", "labels", "ids", "rows", "formats"}
    n_lists = 0
    while pending:
        command = pending.pop()
        assert command is not None
        pending += list(command.commands.values()) if isinstance(command, click.Group) else []
        for option in command.params:
            if isinstance(option, click.Option) and not option.is_flag and option.name in lists_of:
                assert isinstance(option, WordsOption), (command.name, option.name)
                n_lists += 1
    assert n_lists > 20


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "track_a/train/{lang}.csv",
            "../../../../../etc/passwd",
            "'data.files.train.0' is '../../",
        ),
        ("track_a/pred_{lang}.csv", "../../x_{lang}", "'submission.member' is '../../x_{lang}'"),
    ],
)
def test_a_task_file_that_leads_elsewhere_is_refused_before_anything_is_read(
    task_text: str, tiny_data: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in task_text
    (tmp_path / "task.toml").write_text(task_text.replace(old, new), encoding="utf-8")
    words = ["--task", tmp_path / "task.toml", "--data", tiny_data, "--submissions", tmp_path]
    result = call("prepare", *words, "--langs", "eng", "--run", "mine")
    assert result.exit_code == 1
    assert told in result.output
    assert "root:" not in result.output
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("value", ["nan", "7.5", "-1", "1e999"])
def test_what_is_no_probability_is_neither_decided_nor_packed(copied: Path, value: str) -> None:
    """Also where the file is noted as its writer left it: then its writer erred."""
    path = copied / "fold-0" / "probs_test.csv"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[1] = f"{lines[1].rpartition(',')[0]},{value}"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert "probs_test.csv: is not what was written" in call("probs", copied).output
    files.write_kept(path, path.read_bytes())
    result = call("probs", copied)
    assert result.exit_code == 1
    assert "probs_test.csv, line 2: a" in result.output
    before = (copied / "tiny.zip").read_bytes()
    for split in ("test", "dev"):
        shutil.copy(path, copied / split / "probs_eng.csv")
        files.write_kept(
            copied / split / "probs_eng.csv", (copied / split / "probs_eng.csv").read_bytes()
        )
    assert call("pack", copied).exit_code == 1
    assert (copied / "tiny.zip").read_bytes() == before


@pytest.mark.parametrize("command", READERS)
def test_a_read_only_run_is_told(
    copied: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Everything may be read and nothing written, as for root on a disk mounted so."""
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    open_file = os.open

    def open_to_read(path: Any, flags: int, *given: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(copied) in str(path):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return open_file(path, flags, *given, **more)

    for name in ("thresholds.json", "report.html", "README.md", "tiny.zip"):  # there is work to do
        (copied / name).unlink(missing_ok=True)
        before.pop(copied / name, None)
    monkeypatch.setattr(os, "open", open_to_read)
    result = call(command, *READERS[command](copied))
    monkeypatch.undo()
    assert "fault of semeval-kit" not in result.output
    assert result.exit_code in (0, 1)
    assert result.exit_code == 0 or "read-only" in result.output or "Error: " in result.output
    after = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("folder", "command"), [("test", "pack"), ("figures", "figures"), ("paper", "paper")]
)
def test_a_link_in_the_place_of_a_runs_folder_is_not_written_through(
    copied: Path, tmp_path: Path, folder: str, command: str
) -> None:
    (tmp_path / "outside").mkdir()
    if (copied / folder).is_dir():
        shutil.rmtree(tmp_path / "outside")
        shutil.move(copied / folder, tmp_path / "outside")
    (copied / folder).symlink_to(tmp_path / "outside")
    before = {path.name: path.read_bytes() for path in (tmp_path / "outside").iterdir()}
    (copied / "fold-0" / "probs_test.csv").unlink()
    result = call(command, copied)
    assert result.exit_code == 1
    assert f"{copied / folder}: is a link" in result.output
    assert {path.name: path.read_bytes() for path in (tmp_path / "outside").iterdir()} == before


def test_a_link_in_the_place_of_a_fold_is_neither_written_nor_removed_through(
    copied: Path, tmp_path: Path
) -> None:
    shutil.move(copied / "fold-1", tmp_path / "outside")
    (tmp_path / "outside" / "done.json").unlink()
    (copied / "fold-1").symlink_to(tmp_path / "outside")
    before = {path: path.read_bytes() for path in (tmp_path / "outside").rglob("*.*")}
    result = call("train", copied, "--threads", "1")
    assert result.exit_code == 1
    assert f"{copied / 'fold-1'}: is a link" in result.output
    (tmp_path / "pages" / "texts").mkdir(parents=True)
    (copied / "explain").symlink_to(tmp_path / "pages")
    with pytest.raises(KitError, match="explain: is a link"):
        files.remove_tree(copied / "explain" / "texts")
    assert (tmp_path / "pages" / "texts").is_dir()
    assert {path: path.read_bytes() for path in (tmp_path / "outside").rglob("*.*")} == before


def test_a_misspelt_run_is_told_with_the_name_that_is_near(copied: Path) -> None:
    for words in (("tune", copied.with_name("tinny")), ("report", copied.with_name("tin"))):
        result = call(*words)
        assert result.exit_code == 2
        assert f"no run at '{words[1]}' (did you mean '{copied}'?)" in result.output
    far = copied.with_name("something-else")
    assert f"no run at '{far}'. There are: {copied}" in call("pack", far).output


def test_flags_of_a_cluster_are_refused_on_this_machine() -> None:
    result = call("run", "--task", "demo", "--gpus", "2", "--time", "1:00:00")
    assert result.exit_code == 2
    assert "--gpus, --time: of a Slurm job; give --engine slurm. On this machine all" in (
        result.output
    )
