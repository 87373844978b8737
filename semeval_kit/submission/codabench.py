"""Codabench: a small client of its REST interface, for one competition.

The routes are those of the site's own pages (codalab/codabench). What may be asked twice is asked
again when the connection fails; a submission is created by one request that is never repeated.
"""

from __future__ import annotations

import email.utils
import json
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from semeval_kit.errors import KitError

ENDED = ("Finished", "Failed", "Cancelled")
"""States of a submission that do not change any more."""
_ADDRESS = re.compile(r"(https?://[^/\s]+(?:/[^\s]*?)?)/competitions/([0-9]+)(?:/.*)?")
_MAX_ANSWER = 5_000_000
_TRIES = 3


class ConnectionLost(KitError):
    """No answer came, so that it is not known what the site has done."""


@dataclass(frozen=True)
class Phase:
    """A phase of the competition, as the site shows it to the user who asks."""

    id: int
    name: str
    start: datetime | None
    end: datetime | None
    tasks: tuple[int, ...]
    per_day: int | None
    """Uploads that are allowed; None where there is no limit."""
    in_all: int | None
    used_today: int
    used_in_all: int

    @property
    def left(self) -> int | None:
        """Uploads that are left now, None where there is no limit."""
        limits = ((self.per_day, self.used_today), (self.in_all, self.used_in_all))
        left = [limit - used for limit, used in limits if limit is not None]
        return max(min(left), 0) if left else None


@dataclass(frozen=True)
class Submission:
    """A submission on the site."""

    id: int
    state: str
    details: str
    scores: dict[str, float]
    """Leaderboard column -> value."""


class Codabench:
    """A competition on a Codabench site, seen by one user."""

    def __init__(self, address: str, seconds: float = 60.0) -> None:
        """Find site and competition in an address such as https://www.codabench.org/competitions/1/.

        Raises:
            KitError: it is no address of a competition, or not one with https.
        """
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise KitError(
                f"'{address}' is no address of a competition on Codabench, such as "
                "https://www.codabench.org/competitions/3863/. Give it with --site, or in the task "
                "file as submission.site."
            )
        self.site, self.competition = match[1], int(match[2])
        self._seconds, self._token = seconds, ""
        self._secrets: list[str] = []
        self.now = datetime.now(UTC)
        """The site's own clock at its last answer."""
        host = urlsplit(self.site).hostname
        if not self.site.startswith("https:") and host not in ("127.0.0.1", "localhost"):
            raise KitError(f"{self.site}: without https a password could be read on its way.")

    def log_in(self) -> None:
        """Log in with what the environment holds: CODABENCH_TOKEN, or _USERNAME and _PASSWORD.

        Raises:
            KitError: neither is set, or the site refuses.
        """
        self._token = os.environ.get("CODABENCH_TOKEN", "")
        name, password = (os.environ.get(f"CODABENCH_{k}", "") for k in ("USERNAME", "PASSWORD"))
        self._secrets = [secret for secret in (self._token, password) if secret]
        if not self._token and not (name and password):
            raise KitError(
                "no account: set CODABENCH_USERNAME and CODABENCH_PASSWORD (or CODABENCH_TOKEN) in "
                "the environment. They are never written down."
            )
        if not self._token:
            answer = self._ask("POST", "/api/api-token-auth/", username=name, password=password)
            self._token = str(answer["token"])
            self._secrets.append(self._token)

    def list_phases(self) -> list[Phase]:
        """Phases of the competition, in their order."""
        answer = self._ask("GET", f"/api/competitions/{self.competition}/")
        return [_read_phase(phase) for phase in answer["phases"]]

    def why_not(self, phase: Phase) -> str:
        """Why the site would refuse a submission of this user now; empty if it would not."""
        answer = self._ask("GET", f"/api/can_make_submission/{phase.id}/")
        return "" if answer["can"] else str(answer.get("reason") or "no reason given")

    def send_file(self, name: str, content: bytes) -> str:
        """Put a zip on the site; nothing is submitted yet. Returns its key."""
        answer = self._ask(
            "POST",
            "/api/datasets/",
            type="submission",
            request_sassy_file_name=name,
            file_name=name,
            file_size=len(content),
        )
        place = str(answer["sassy_url"])
        if urlsplit(place).scheme != urlsplit(self.site).scheme:
            raise KitError(
                f"{self.site}: names a place for the zip that is not safe ({place[:60]})."
            )
        request = urllib.request.Request(place, content, method="PUT")
        request.add_header("Content-Type", "application/zip")
        self._open(request, tries=_TRIES)
        return str(answer["key"])

    def submit(self, phase: Phase, key: str) -> int:
        """Submit what `send_file` put there, which counts against the quota. Returns its id.

        Raises:
            ConnectionLost: it is not known whether the site took it.
            KitError: the site refuses.
        """
        answer = self._ask(
            "POST", "/api/submissions/", tries=1, phase=phase.id, data=key, tasks=phase.tasks
        )
        return int(answer["id"])

    def find_submission(self, phase: int, name: str) -> int | None:
        """The id of this user's submission of a zip with that name, None if there is none."""
        answer = self._ask("GET", f"/api/submissions/?phase={phase}")
        entries = answer.get("results", []) if isinstance(answer, dict) else answer
        stem = name.removesuffix(".zip")
        for entry in entries:
            if str(entry.get("filename", "")).startswith(stem) and not entry.get("parent"):
                return int(entry["id"])
        return None

    def read_submission(self, submission: int) -> Submission:
        """State and scores of a submission, those of its parts (one per task) among them."""
        answer = self._ask("GET", f"/api/submissions/{submission}/")
        scores = {}
        parts = [
            self._ask("GET", f"/api/submissions/{int(k)}/") for k in answer.get("children") or ()
        ]
        for entry in (*parts, answer):
            for score in entry.get("scores") or ():
                scores[str(score["column_key"])] = float(score["score"])
        details = " ".join(str(e.get("status_details") or "") for e in (answer, *parts)).strip()
        return Submission(submission, str(answer["status"]), details[:500], scores)

    def _ask(self, method: str, path: str, tries: int = _TRIES, **content: Any) -> Any:
        data = json.dumps(content).encode() if content else None
        request = urllib.request.Request(f"{self.site}{path}", data, method=method)
        request.add_header("Accept", "application/json")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Token {self._token}")
        answer = self._open(request, tries)
        try:
            return json.loads(answer)
        except ValueError:
            raise KitError(f"{self.site}{path}: the answer is no JSON. Is the site up?") from None

    def _open(self, request: urllib.request.Request, tries: int) -> bytes:
        place = request.full_url.split("?")[0]
        for left in reversed(range(tries)):
            try:
                with _OPENER.open(request, timeout=self._seconds) as response:
                    self.now = _read_clock(response.headers.get("Date"))
                    return bytes(response.read(_MAX_ANSWER))
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise KitError(self._describe_refusal(place, error)) from None
                if not left:  # a gateway's error does not say what the site behind it has done
                    raise ConnectionLost(self._describe_refusal(place, error)) from None
            except (OSError, HTTPException) as error:
                if not left:
                    reason = getattr(error, "reason", error)
                    raise ConnectionLost(f"{place}: no answer ({reason}). Try again.") from None
            time.sleep(min(self._seconds / 60, 1.0))
        raise AssertionError("unreachable")

    def _describe_refusal(self, place: str, error: urllib.error.HTTPError) -> str:
        try:
            said = error.read(2000).decode("utf-8", "replace")
        except OSError:
            said = ""
        try:
            answer = json.loads(said)
            said = str(answer.get("detail", said)) if isinstance(answer, dict) else said
        except ValueError:
            said = "" if "<html" in said.lower() else said
        advice = {
            400: "The site does not take it",
            401: "Check user name and password",
            403: "The site does not let this user",
            404: "Check the address of the competition",
        }.get(error.code, "Try again later")
        for secret in self._secrets:  # a site may repeat what it was sent
            said = said.replace(secret, "...")
        reason = " ".join(said.split())[:300] or error.reason
        return f"{place}: refused ({error.code}). {advice}: {reason}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """So that a token goes nowhere else."""

    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _read_phase(entry: dict[str, Any]) -> Phase:
    limited = entry.get("has_max_submissions", True)
    per_day, in_all = (
        (int(entry.get(key) or 0) or None) if limited else None
        for key in ("max_submissions_per_day", "max_submissions_per_person")
    )
    return Phase(
        id=int(entry["id"]),
        name=str(entry["name"]),
        start=_read_time(entry.get("start")),
        end=_read_time(entry.get("end")),
        tasks=tuple(int(task["id"]) for task in entry.get("tasks") or ()),
        per_day=per_day,
        in_all=in_all,
        used_today=int(entry.get("used_submissions_per_day") or 0),
        used_in_all=int(entry.get("used_submissions_per_person") or 0),
    )


def _read_clock(date: str | None) -> datetime:
    try:
        return email.utils.parsedate_to_datetime(date or "").astimezone(UTC)
    except (TypeError, ValueError):
        return datetime.now(UTC)


def _read_time(text: str | None) -> datetime | None:
    if not text:
        return None
    time_read = datetime.fromisoformat(text)
    return time_read if time_read.tzinfo else time_read.replace(tzinfo=UTC)
