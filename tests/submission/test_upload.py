"""Uploads against a server on this machine that answers as Codabench does, with its failures."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from semeval_kit.cli.competition import upload as upload_command
from semeval_kit.errors import KitError
from semeval_kit.submission import upload
from semeval_kit.submission.codabench import Codabench, ConnectionLost

SECRET = "not-for-any-log"
ZIP = b"PK the zip"


@dataclass
class Site:
    """What the server holds, and how it fails."""

    address: str = ""
    can: bool = True
    reason: str = ""
    used: int = 0
    end: str | None = None
    states: list[str] = field(default_factory=lambda: ["Submitted", "Running", "Finished"])
    details: str = ""
    scores: dict[str, str] = field(default_factory=lambda: {"avg_macro_f1": "0.6377000000"})
    lose: str = ""
    """The request, such as "POST /api/submissions/", that is carried out and never answered."""
    lose_before: bool = False
    """Lose it before it is carried out."""
    with_children: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    submissions: list[dict] = field(default_factory=list)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    def count(self, what: str) -> int:
        return sum(f"{method} {path}" == what for method, path, _ in self.requests)


def answer_to(site: Site, method: str, path: str, body: bytes):
    """Status and JSON of an answer."""
    content = json.loads(body) if body and method == "POST" else {}
    if path == "/api/api-token-auth/":
        right = content == {"username": "me", "password": SECRET}
        repeated = f"wrong password {content.get('password')}"
        return (200, {"token": "a-token"}) if right else (400, {"detail": repeated})
    if path == "/api/competitions/7/":
        phase = {
            "id": 70, "name": "Evaluation", "start": "2020-01-01T00:00:00Z", "end": site.end,
            "tasks": [{"id": 5}], "has_max_submissions": True, "max_submissions_per_day": 2,
            "max_submissions_per_person": 3, "used_submissions_per_day": site.used,
            "used_submissions_per_person": site.used,
        }  # fmt: skip
        later = phase | {"id": 71, "name": "After", "start": "2999-01-01T00:00:00Z"}
        return 200, {"phases": [phase, later]}
    if path == "/api/can_make_submission/70/":
        return 200, {"can": site.can, "reason": site.reason}
    if path == "/api/datasets/":
        key = f"key{len(site.files)}"
        site.files[f"{key}/{content['request_sassy_file_name'][:35]}"] = b""
        return 201, {"key": key, "sassy_url": f"{site.address}/put/{key}"}
    if path.startswith("/put/"):
        name = next(name for name in site.files if name.startswith(path[5:]))
        site.files[name] = body
        return 200, {}
    if path == "/api/submissions/":
        name = next(name for name in site.files if name.startswith(content["data"]))
        assert content["phase"] == 70
        assert content["tasks"] == [5]
        entry = {"id": 900 + len(site.submissions), "filename": name.split("/")[1], "asked": 0}
        site.submissions.append(entry)
        return 201, {"id": entry["id"]}
    if path == "/api/submissions/?phase=70":
        return 200, {"results": site.submissions}
    number = int(path.strip("/").split("/")[-1])
    scores = [{"column_key": key, "score": value} for key, value in site.scores.items()]
    if number < 900:
        return 200, {"id": number, "status": "Finished", "scores": scores, "parent": 900}
    entry = next(entry for entry in site.submissions if entry["id"] == number)
    state = site.states[min(entry["asked"], len(site.states) - 1)]
    entry["asked"] += 1
    finished = scores if state == "Finished" else []
    parts = {"children": [800], "scores": []} if site.with_children else {"scores": finished}
    return 200, {"id": number, "status": state, "status_details": site.details, **parts}


@pytest.fixture
def site(monkeypatch):
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            what = f"{self.command} {self.path}"
            state.requests.append((self.command, self.path, self.headers.get("Authorization")))
            if state.lose == what and state.lose_before:
                self.close_connection = True
                return
            status, content = answer_to(state, self.command, self.path, body)
            if state.lose == what:
                self.close_connection = True
                return
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("CODABENCH_USERNAME", "me")
    monkeypatch.setenv("CODABENCH_PASSWORD", SECRET)
    monkeypatch.setattr(upload, "_POLL_SECONDS", 0.01)
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def competition(site):
    client = Codabench(f"{site.address}/competitions/7/", seconds=2)
    client.log_in()
    return client


@pytest.fixture
def log(tmp_path):
    return tmp_path / "uploads.jsonl"


def send(log, competition):
    phase = upload.choose_phase(competition, None)
    return upload.send_zip(log, log.with_name("my.zip"), ZIP, competition, phase)


def wait(log, sent, competition, minutes=1.0):
    told = []
    sent = upload.wait_for_score(log, sent, competition, minutes=minutes, tell=told.append)
    return sent, told


def test_a_zip_goes_up_once_and_its_score_comes_back(site, competition, log):
    sent = send(log, competition)
    assert list(site.files.values()) == [ZIP]
    assert (sent.state, sent.submission, sent.phase_name) == ("Submitted", 900, "Evaluation")
    done, told = wait(log, sent, competition)
    assert done.scores == {"avg_macro_f1": 0.6377}
    assert told == ["my.zip: Running", "my.zip: Finished"]
    assert upload.read_uploads(log) == [done]
    assert len(log.read_text().splitlines()) == 1
    assert site.count("POST /api/submissions/") == 1


def test_scores_of_tasks_are_found_in_the_parts(site, competition, log):
    site.with_children = True
    done, _ = wait(log, send(log, competition), competition)
    assert done.scores == {"avg_macro_f1": 0.6377}


def test_phase_dates_and_quota_are_told(site, competition):
    site.used = 1
    phase = upload.choose_phase(competition, None)
    assert phase.left == 1
    assert upload.describe_phase(phase) == (
        "'Evaluation' (2020-01-01 00:00 UTC to ...; used 1 of 2 today, 1 of 3 in all)"
    )
    with pytest.raises(KitError, match="phase 'After'.* is not open now"):
        upload.choose_phase(competition, 71)
    with pytest.raises(KitError, match="there is no phase 72. Phases: 70 'Evaluation'"):
        upload.choose_phase(competition, 72)


def test_a_phase_that_has_ended_takes_nothing(site, competition):
    """The site itself would."""
    site.end = "2021-01-01T00:00:00Z"
    with pytest.raises(KitError, match="none of the phases open now"):
        upload.choose_phase(competition, None)


def test_over_quota_and_refusals_send_nothing(site, competition, log):
    site.used = 2
    with pytest.raises(KitError, match="no upload is left in phase 'Evaluation'.*2 of 2 today"):
        send(log, competition)
    site.used, site.can, site.reason = 0, False, "User not approved"
    with pytest.raises(KitError, match="would refuse .* User not approved"):
        send(log, competition)
    assert (site.files, site.submissions, log.exists()) == ({}, [], False)


def test_a_connection_lost_after_the_zip_was_sent_sends_nothing_again(site, competition, log):
    site.lose = "POST /api/submissions/"
    sent = send(log, competition)
    assert sent.submission == 900
    done, _ = wait(log, sent, competition)
    assert done.state == "Finished"
    assert site.count("POST /api/submissions/") == 1


def test_a_connection_lost_before_is_said_and_not_sent_again_by_itself(site, competition, log):
    site.lose, site.lose_before = "POST /api/submissions/", True
    with pytest.raises(KitError, match="the site does not list it. It is not sent again by itself"):
        send(log, competition)
    (known,) = upload.read_uploads(log)
    assert known.state == "sending"
    site.lose = ""
    assert upload.find_upload(log, ZIP, competition, 70) == known
    with pytest.raises(KitError, match="use --again"):
        upload.resume_upload(log, known, competition)
    assert site.count("POST /api/submissions/") == 1


def test_the_file_itself_may_be_sent_twice_since_it_does_not_count(site, competition, log):
    site.lose = "PUT /put/key0"
    with pytest.raises(ConnectionLost, match="no answer"):
        send(log, competition)
    assert site.count("PUT /put/key0") == 3
    assert site.submissions == []
    assert not log.exists()


def test_a_site_that_is_stuck_is_asked_again_later(site, competition, log):
    site.states = ["Submitted"]
    sent, told = wait(log, send(log, competition), competition, minutes=0.001)
    assert (sent.state, told) == ("Submitted", [])
    site.states = ["Finished"]
    again = upload.find_upload(log, ZIP, competition, None)
    done, _ = wait(log, upload.resume_upload(log, again, competition), competition)
    assert done.state == "Finished"
    assert site.count("POST /api/submissions/") == 1


def test_finished_with_zero_is_a_rejection(site, competition, log):
    site.scores = {"avg_macro_f1": "0.0", "languages_scored": "0"}
    done, _ = wait(log, send(log, competition), competition)
    assert done.rejected


def test_passwords_go_nowhere(site, log, monkeypatch):
    monkeypatch.setenv("CODABENCH_PASSWORD", SECRET + "x")
    client = Codabench(f"{site.address}/competitions/7/", seconds=2)
    with pytest.raises(KitError, match=r"refused \(400\).*: wrong password \.\.\.") as caught:
        client.log_in()
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("CODABENCH_PASSWORD", SECRET)
    client.log_in()
    send(log, client)
    assert SECRET not in log.read_text()
    assert "a-token" not in log.read_text()
    tokens = {path: token for _, path, token in site.requests}
    assert tokens["/put/key0"] is None
    assert tokens["/api/submissions/"] == "Token a-token"


def test_accounts_and_addresses_are_needed(monkeypatch):
    monkeypatch.delenv("CODABENCH_USERNAME", raising=False)
    monkeypatch.delenv("CODABENCH_TOKEN", raising=False)
    with pytest.raises(KitError, match="no account: set CODABENCH_USERNAME"):
        Codabench("https://www.codabench.org/competitions/3863/").log_in()
    with pytest.raises(KitError, match="'https://example.org' is no address of a competition"):
        Codabench("https://example.org")
    with pytest.raises(KitError, match="without https"):
        Codabench("http://example.org/competitions/1/")


def test_a_damaged_log_is_refused(log):
    log.write_text('{"zip": 1}\n')
    with pytest.raises(
        KitError, match=r"uploads\.jsonl: damaged .* Look at the site to see what was sent"
    ):
        upload.read_uploads(log)


@pytest.fixture
def run(site, task, gold, make_zip, tmp_path, monkeypatch):
    """A run with a valid zip and an estimate."""
    rows = "eng_test_track_a_1,1,0,0\neng_test_track_a_2,0,1,1\neng_test_track_a_3,0,0,1\n"
    path = make_zip({"track_a/pred_eng.csv": "id,anger,fear,joy\n" + rows})
    section = task.submission.model_copy(update={"site": f"{site.address}/competitions/7/"})
    estimate = tmp_path / "estimate.json"
    reading = {"score": 0.631, "low": 0.61, "high": 0.652}
    estimate.write_text(json.dumps({"metric": "macro_f1", "cross_fitted": reading}))
    made = SimpleNamespace(
        path=tmp_path,
        task=task.model_copy(update={"submission": section}),
        data=gold,
        zip_file=path,
        estimate_file=estimate,
    )
    monkeypatch.setattr("semeval_kit.run.directory.Run.open", lambda *args, **named: made)
    return made


def command(run, *options, **named):
    return CliRunner().invoke(upload_command, [str(run.path), *options], **named)


def test_the_command_asks_uploads_and_shows_the_score_beside_the_estimate(site, run):
    done = command(run, input="y\n")
    assert done.exit_code == 0
    assert "phase 'Evaluation' (2020-01-01 00:00 UTC to ...; used 0 of 2 today" in done.output
    assert "Upload submission.zip (2 left)? [y/N]: y" in done.output
    assert "  avg_macro_f1             0.6377" in done.output
    assert "  estimated before: macro_f1 0.6310 [0.6100, 0.6520]" in done.output
    again = command(run, "--yes")
    assert "was scored before" in again.output
    assert "0.6377" in again.output
    assert site.count("POST /api/submissions/") == 1
    assert command(run, "--yes", "--again").exit_code == 0
    assert site.count("POST /api/submissions/") == 2


def test_the_command_sends_nothing_on_no_or_an_invalid_zip(site, run):
    assert command(run, input="n\n").exit_code == 1
    run.zip_file.write_bytes(b"no zip")
    done = command(run, "--yes")
    assert "not uploaded" in done.output
    assert site.files == {}


def test_the_command_resumes_what_was_lost_or_stuck(site, run):
    site.states = ["Submitted"]
    stuck = command(run, "--yes", "--wait", "0")
    assert stuck.exit_code == 1
    assert "still 'Submitted'. Nothing is lost: run the same command later" in stuck.output
    site.states, site.end = ["Finished"], "2021-01-01T00:00:00Z"
    done = command(run, "--yes")
    assert "sent before, at" in done.output
    assert done.exit_code == 0
    assert site.count("POST /api/submissions/") == 1


def test_the_command_tells_a_rejection_and_a_failure(site, run):
    site.scores = {"avg_macro_f1": "0.0"}
    done = command(run, "--yes")
    assert done.exit_code == 1
    assert "Finished with 0 means that the scoring program rejected the zip" in done.output
    site.states, site.details = ["Failed"], "Could not find scores file"
    done = command(run, "--yes", "--again")
    assert done.exit_code == 1
    assert "Failed (Could not find scores file). It does not count against the" in done.output
