"""A real browser for the tests of the page: Chromium without a window, driven over a pipe.

``--remote-debugging-pipe`` speaks the DevTools protocol on file descriptors 3 and 4, each message ended by a zero
byte, so nothing but Chromium has to be installed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT_S = 60.0


def find_browser() -> str:
    """Path of the browser; the test is skipped without one, unless CXR_REQUIRE_BROWSER=1."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        if os.environ.get("CXR_REQUIRE_BROWSER") == "1":
            pytest.fail(
                "CXR_REQUIRE_BROWSER=1 but there is no Chromium; install it (Debian: apt-get install chromium)"
            )
        pytest.skip("no Chromium")
    return found


class Browser:
    """One page of one browser; ``problems`` collects errors and warnings of the console and failed requests."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, path: Path, *, width: int, height: int = 900, settled: bool = True) -> None:
        """Load a file at a width in CSS pixels and wait until it is there; below 600 px the device is a phone."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self._loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for_load()
        if settled:  # which takes scripts
            self.value("new Promise(done => requestAnimationFrame(() => done(true)))")

    def wait_for_load(self) -> None:
        """Wait until a page that was asked for, by this test or by the page itself, is there."""
        while not self._loaded:
            self._next()
        self._loaded = False

    def value(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true, at most 20 seconds."""
        again = "left ? setTimeout(look, 20, left - 1) : done(false)"
        waiting = f"const look = (left) => ({condition}) ? done(true) : {again};"
        assert self.value(f"new Promise(done => {{ {waiting} look(1000); }})") is True, condition

    def press(self, selector: str) -> None:
        """Click the middle of an element with the mouse, as a user does."""
        find = f"const found = document.querySelector({json.dumps(selector)});"
        scroll = "found.scrollIntoView({block: 'center', inline: 'center'});"
        frame = "await new Promise(requestAnimationFrame);"  # in which what was out of sight is laid out
        middle = "const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2];"
        place = self.value(f"(async () => {{ {find} {(scroll + frame) * 2} {middle} }})()")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def key(self, name: str) -> None:
        """Press and release a key, by its DevTools name."""
        codes = {"Enter": 13, "Backspace": 8, "Tab": 9}
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            found = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=codes[name], **found)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """The whole page as a PNG file."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        answer = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)
        return base64.b64decode(answer["data"])

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser was silent for {TIMEOUT_S:.0f} s"
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser ended"
            self._buffer += part
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, found: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif event == "Network.loadingFailed" and not found.get("canceled"):
            self.problems.append(f"request failed: {found['errorText']}")
        elif event == "Runtime.exceptionThrown":
            self.problems.append(f"exception: {found['exceptionDetails']['text']}")
        elif event == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{found['entry']['level']}: {found['entry']['text']}")
        elif event == "Runtime.consoleAPICalled" and found["type"] in ("error", "warning", "assert"):
            self.problems.append(f"console {found['type']}: {found['args']}")


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile; end it and all it started."""
    program = find_browser()
    to_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
    quiet = ("--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync")
    # The shell gives the two pipes the numbers that the browser expects, whatever numbers they have here.
    script = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
    arguments = [program, *options, *quiet, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", *arguments],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Browser(commands, answers)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(commands)
        os.close(answers)
