"""What `data check` found: per file, between files, and over all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FileReport:
    """What one file holds. `positives` counts the rows above 0 of each annotated label."""

    task: str
    split: str
    language: str
    path: str
    n_rows: int
    n_labels: int
    positives: dict[str, int]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class OverlapReport:
    """Rows of a dev or test file whose text a train or dev file holds too.

    `pairs` are (id in first, id in second); `n_second` is the number of rows of the second file.
    """

    first: str
    second: str
    language: str
    n_second: int
    n_verbatim: int
    pairs: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """Name the overlap in one line, with the first pair of ids."""
        one, other = self.pairs[0]
        return (
            f"{self.language}: {len(self.pairs)} of {self.n_second} texts of {self.second} are "
            f"also in {self.first}, {self.n_verbatim} of them verbatim (first: {other} = {one})"
        )


@dataclass(frozen=True)
class CheckReport:
    """Everything that was found."""

    files: tuple[FileReport, ...]
    strays: tuple[str, ...]
    overlaps: tuple[OverlapReport, ...]
    missing: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def n_errors(self) -> int:
        """Number of errors over all files."""
        return len(self.errors) + sum(len(file.errors) for file in self.files)

    @property
    def n_warnings(self) -> int:
        """Number of warnings over all files, with strays, overlaps and missing files."""
        between = len(self.strays) + len(self.overlaps) + len(self.missing)
        return between + sum(len(file.warnings) for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dictionaries and lists."""
        return {**asdict(self), "n_errors": self.n_errors, "n_warnings": self.n_warnings}
