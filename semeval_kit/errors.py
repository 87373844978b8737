"""Errors that people see: what went wrong, where, and what to do."""

from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import Any

import click

DEBUG = "SEMEVAL_KIT_DEBUG"
_REMEDIES = {
    errno.EACCES: "no permission. Change its permissions, or work on a copy that is yours.",
    errno.EPERM: "no permission. Change its permissions, or work on a copy that is yours.",
    errno.EROFS: "the disk is read-only. Work on a copy elsewhere.",
    errno.ENOSPC: "the disk is full. Make room and run the same command: it goes on.",
    errno.EDQUOT: "your share of the disk is full. Make room and run the same command: it goes on.",
    errno.ENAMETOOLONG: "the name is too long for the file system. Choose a shorter one.",
    errno.ENOENT: "no such file or folder. Check the path.",
    errno.ENOTDIR: "a part of the path is a file. Check the path.",
    errno.EISDIR: "is a folder where a file is expected. Check the path.",
    errno.ELOOP: "a link that leads to itself, or that is not followed. Remove it.",
    errno.EMFILE: "too many open files. Close other programs, or raise `ulimit -n`.",
    errno.EIO: "the disk cannot be read or written. Check it, and keep a copy of what is there.",
    errno.ESTALE: "the shared folder was unmounted or changed. Mount it and run the command again.",
}


# What a GPU's own failures say, and what can be done about them.
_GPU_REMEDIES = {
    "no kernel image": "the installed torch has no code for this GPU. Install one that has, or set "
    "CUDA_VISIBLE_DEVICES to nothing: the processor computes then.",
    "busy or unavailable": "the GPU takes one process at a time. Train fewer folds at a time "
    "(--jobs 1), or wait for the process that has it.",
    "NCCL": "the processes of a fold do not reach each other. Try NCCL_P2P_DISABLE=1 in the "
    "environment, or --processes 1.",
    "CUDA error": "the GPU or its driver failed. Run the same command again: it goes on from the "
    "last checkpoint.",
}
# Only torch's own allocator has a class of its own for it.
_NO_GPU_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class KitError(click.ClickException):
    """An error with a remedy; click prints it without a traceback and exits with 1."""


class BusyError(KitError):
    """Another process is at work on the same files; whoever called may wait and try again."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class MissingExtraError(KitError):
    """A library that comes with an extra of this package is not installed."""


def explain_error(error: Exception) -> KitError:
    """An error that nobody foresaw, as a person reads it: what, where and what to do."""
    if isinstance(error, KitError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        place = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        words = _REMEDIES.get(error.errno, f"{error.strerror}. Check it and run the command again.")
        return KitError(f"{_shorten(place)}: {words}" if place else words[0].upper() + words[1:])
    if isinstance(error, UnicodeDecodeError):
        return KitError(f"a file is not UTF-8 (byte {error.start + 1}). Save it as UTF-8.")
    if isinstance(error, RecursionError):
        return KitError("a file is nested too deeply. Check that it is the right file.")
    if isinstance(error, MemoryError):
        return KitError("out of memory. Close other programs, or give smaller batches or files.")
    if is_gpu_out_of_memory(error):
        return KitError(
            "the GPU's memory does not suffice. Lower batch_size (with more accumulation) or "
            "max_length, or train fewer folds at a time (--jobs)."
        )
    told = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and "device-side assert" not in told:
        for words, remedy in _GPU_REMEDIES.items():
            if words in told:
                return KitError(f"{_shorten(told)}\nThat is: {remedy}")
    return KitError(
        f"{type(error).__name__}: {_shorten(told)}\nThis is a fault of semeval-kit. Please report "
        f"it with what `{DEBUG}=1` before the same command shows."
    )


def is_gpu_out_of_memory(error: Exception) -> bool:
    """Whether an error says that a GPU's memory does not suffice.

    torch's allocator on CUDA has a class for it (whose name is asked, since not every command
    imports torch); a kernel that cannot begin, cuBLAS and MPS say it in words.
    """
    said_by_class = type(error).__name__ == "OutOfMemoryError"
    return said_by_class or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_GPU_MEMORY)
    )


def import_extra(name: str, extra: str, who: str) -> Any:
    """Import a library that comes with an extra of this package.

    Raises:
        MissingExtraError: it is not installed: who needs it, and how it is had.
    """
    try:
        return import_module(name)
    except ImportError as error:
        remedy = f"Install it with: pip install 'semeval-kit[{extra}]'"
        raise MissingExtraError(f"{who} {name}. {remedy}") from error


def _shorten(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:200]}...{text[-60:]}"
