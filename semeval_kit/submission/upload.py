"""Uploads: a zip goes to the site once, and what became of it is kept beside the run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from semeval_kit.errors import KitError
from semeval_kit.files import read_kept, write_kept
from semeval_kit.submission.codabench import ENDED, Codabench, ConnectionLost, Phase

RESUMED = ("sending", "Submitting", "Submitted", "Preparing", "Running", "Scoring", "None")
"""States in which the same zip is not sent again, but asked for."""
_POLL_SECONDS = 10.0
_LOOK = "Look at the site to see what was sent, then remove the file."


@dataclass(frozen=True)
class Upload:
    """One upload of a zip, as the log knows it."""

    zip: str
    sha256: str
    site: str
    competition: int
    phase: int
    phase_name: str
    time: str
    """When it was sent, by the site's clock."""
    state: str
    """"sending" (not known whether it arrived), then the site's own words."""
    submission: int | None = None
    details: str = ""
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def rejected(self) -> bool:
        """Finished with nothing but zeros: the scoring program refused the zip."""
        return self.state == "Finished" and not any(self.scores.values())


def read_uploads(log: Path) -> list[Upload]:
    """What a run's log holds, oldest first; each upload in its last state.

    Raises:
        KitError: the log is damaged.
    """
    if not log.exists():
        return []
    text = read_kept(log, _LOOK).decode("utf-8", "replace")
    try:
        return [Upload(**json.loads(line)) for line in text.splitlines()]
    except (ValueError, TypeError) as error:
        raise KitError(f"{log}: damaged ({error}). {_LOOK}") from None


def choose_phase(site: Codabench, wanted: int | None) -> Phase:
    """The phase with that id, or the only one that is open now.

    Raises:
        KitError: there is no such phase, or it is not open.
    """
    phases = site.list_phases()
    listed = "; ".join(f"{phase.id} {describe_phase(phase)}" for phase in phases)
    open_now = [phase for phase in phases if _is_open(phase, site.now)]
    if wanted is not None:
        named = [phase for phase in phases if phase.id == wanted]
        if not named:
            raise KitError(f"there is no phase {wanted}. Phases: {listed}.")
        if named[0] not in open_now:
            raise KitError(f"phase {describe_phase(named[0])} is not open now. Phases: {listed}.")
        open_now = named
    if len(open_now) != 1:
        count = "none" if not open_now else str(len(open_now))
        raise KitError(f"{count} of the phases open now. Choose with --phase: {listed}.")
    return open_now[0]


def describe_phase(phase: Phase) -> str:
    """Name, dates and what is left of the quota."""
    dates = [f"{when:%Y-%m-%d %H:%M} UTC" if when else "..." for when in (phase.start, phase.end)]
    used = [
        f"{count} of {limit} {span}"
        for count, limit, span in (
            (phase.used_today, phase.per_day, "today"),
            (phase.used_in_all, phase.in_all, "in all"),
        )
        if limit is not None
    ]
    quota = f"used {', '.join(used)}" if used else "no limit"
    return f"'{phase.name}' ({dates[0]} to {dates[1]}; {quota})"


def find_upload(log: Path, content: bytes, site: Codabench, phase: int | None) -> Upload | None:
    """The last upload of these bytes to a phase, or to any, that the log knows."""
    sha256 = hashlib.sha256(content).hexdigest()
    same = [
        upload
        for upload in read_uploads(log)
        if (upload.sha256, upload.site, upload.competition) == (sha256, site.site, site.competition)
        and phase in (None, upload.phase)
    ]
    return same[-1] if same else None


def send_zip(log: Path, zip_path: Path, content: bytes, site: Codabench, phase: Phase) -> Upload:
    """Send a zip once. The log is written before, so that a lost connection is remembered.

    Raises:
        ConnectionLost: the site does not answer; `resume_upload` finds out what it has done.
        KitError: no upload is left, or the site refuses; nothing was submitted.
    """
    if phase.left == 0:
        raise KitError(f"no upload is left in phase {describe_phase(phase)}.")
    reason = site.why_not(phase)
    if reason:
        raise KitError(f"the site would refuse an upload to phase '{phase.name}': {reason}")
    upload = Upload(
        zip=zip_path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        site=site.site,
        competition=site.competition,
        phase=phase.id,
        phase_name=phase.name,
        time=site.now.isoformat(timespec="seconds"),
        state="sending",
    )
    key = site.send_file(_name_on_site(upload), content)
    _keep(log, upload)
    try:
        submission = site.submit(phase, key)
    except ConnectionLost:
        return resume_upload(log, upload, site)
    except KitError as refusal:
        _keep(log, replace(upload, state="refused", details=str(refusal)))
        raise
    return _keep(log, replace(upload, state="Submitted", submission=submission))


def resume_upload(log: Path, upload: Upload, site: Codabench) -> Upload:
    """Find an upload on the site whose answer was lost; nothing is sent.

    Raises:
        KitError: it is not there, or the site does not answer.
    """
    if upload.submission is not None:
        return upload
    submission = site.find_submission(upload.phase, _name_on_site(upload))
    if submission is None:
        raise KitError(
            f"the connection was lost while {upload.zip} was sent, and the site does not list it. "
            "It is not sent again by itself: look at the site, then use --again if it is not there."
        )
    return _keep(log, replace(upload, state="Submitted", submission=submission))


def wait_for_score(
    log: Path, upload: Upload, site: Codabench, *, minutes: float, tell: Callable[[str], None]
) -> Upload:
    """Ask until the site is done or the time is over; every new state is kept and told.

    Raises:
        ConnectionLost: the site does not answer any more; the upload is safe there.
    """
    assert upload.submission is not None
    give_up = time.monotonic() + minutes * 60
    while True:
        answer = site.read_submission(upload.submission)
        if (answer.state, answer.scores) != (upload.state, upload.scores):
            upload = _keep(
                log,
                replace(upload, state=answer.state, details=answer.details, scores=answer.scores),
            )
            tell(f"{upload.zip}: {upload.state}")
        if upload.state in ENDED or time.monotonic() >= give_up:
            return upload
        time.sleep(_POLL_SECONDS)


def _is_open(phase: Phase, now: datetime) -> bool:
    started = phase.start is None or phase.start <= now
    return started and (phase.end is None or now < phase.end)


def _name_on_site(upload: Upload) -> str:
    """A name by which the zip is found again; the site keeps 35 characters of it."""
    return f"{upload.sha256[:16]}-{upload.time[:19].replace(':', '').replace('-', '')}.zip"


def _keep(log: Path, upload: Upload) -> Upload:
    """Write an upload's state into the log: in place of its older state, if it has one."""
    uploads = read_uploads(log)
    key = (upload.sha256, upload.phase, upload.time)
    same = [i for i, u in enumerate(uploads) if (u.sha256, u.phase, u.time) == key]
    if same:
        uploads[same[-1]] = upload
    else:
        uploads.append(upload)
    lines: list[dict[str, Any]] = [vars(entry) for entry in uploads]
    write_kept(log, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
    return upload
