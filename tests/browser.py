"""Debian's chromium without a window, driven through its debugging pipe: no driver, no package.

with Browser() as browser:
    page = browser.open(path_of_html, width=390, dark=True)
    assert page.errors == [] and page.foreign == []
    assert page.evaluate("document.querySelectorAll('svg').length") == 8
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from select import select
from typing import Any

CHROMIUM = "chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--hide-scrollbars",
    # Whatever asks for a name gets none: nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
_PATIENCE = 60.0
# chromium hears on descriptor 3 and speaks on 4: put the pipes there, then become chromium.
_PLACE = """
import fcntl, os, sys
hear, speak = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])
os.dup2(hear, 3), os.dup2(speak, 4)
os.closerange(10, 256)
os.execv(sys.argv[3], sys.argv[3:])
"""
_MOVE = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
os.dup2(ours[0], 3)
os.dup2(ours[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> str | None:
    """Path of chromium, or None."""
    return shutil.which(CHROMIUM) or shutil.which("chromium-browser")


class Browser:
    """A chromium process with a profile of its own that is thrown away."""

    def __enter__(self) -> Browser:
        program = find_chromium()
        if program is None:
            raise FileNotFoundError(f"{CHROMIUM} is not on this machine")
        self._profile = tempfile.mkdtemp(prefix="browser-")
        their_read, self._write = os.pipe()
        self._read, their_write = os.pipe()
        command = [program, *FLAGS, f"--user-data-dir={self._profile}"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PLACE, str(their_read), str(their_write), *command],
            pass_fds=(their_read, their_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_read)
        os.close(their_write)
        self._buffer, self._number = b"", 0
        self._events: list[dict[str, Any]] = []
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """Open a file in a new tab and wait until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, path.resolve().as_uri())
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        failed = page.call("Page.navigate", url=page.url).get("errorText")
        if failed:
            raise FileNotFoundError(f"{path}: {failed}")
        page.wait("Page.loadEventFired")
        # What an onerror of an image or a late request does, it does within this time.
        page.evaluate("new Promise(done => setTimeout(done, 300))")
        return page

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._events.append(answer)

    def receive(self) -> dict[str, Any]:
        """The next message."""
        give_up = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select([self._read], [], [], max(0.0, give_up - time.monotonic()))
            if not ready:
                raise TimeoutError("chromium does not answer")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise OSError("chromium has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def events(self, session: str) -> list[dict[str, Any]]:
        """What has happened in a tab so far."""
        return [event for event in self._events if event.get("sessionId") == session]

    def keep(self, event: dict[str, Any]) -> None:
        """Note an event."""
        self._events.append(event)


@dataclass
class Page:
    """A loaded page."""

    browser: Browser
    session: str
    url: str

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command to this tab."""
        return self.browser.call(method, self.session, **params)

    def wait(self, method: str) -> None:
        """Wait for an event of this tab."""
        while not any(event.get("method") == method for event in self._events()):
            self.browser.keep(self.browser.receive())

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:500])
        return answer["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page the size of a screen in CSS pixels; up to 500 wide it is a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if width <= 500 else 1,
            mobile=width <= 500,
        )

    def screenshot(self, path: Path) -> Path:
        """Write a PNG of the whole page."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for, in order, the page itself first."""
        return [
            event["params"]["request"]["url"]
            for event in self._events()
            if event.get("method") == "Network.requestWillBeSent"
        ]

    @property
    def foreign(self) -> list[str]:
        """Addresses other than the page itself and data within it."""
        return [u for u in self.requests if u != self.url and not u.startswith("data:")]

    @property
    def errors(self) -> list[str]:
        """What the console shows: errors, warnings, output, what a policy blocked, dialogs."""
        return [
            json.dumps(event["params"])[:500]
            for event in self._events()
            if event.get("method")
            in {
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
                "Log.entryAdded",
                "Audits.issueAdded",
                "Page.javascriptDialogOpening",
            }
        ]

    def _events(self) -> list[dict[str, Any]]:
        return self.browser.events(self.session)
