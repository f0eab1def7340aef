"""A headless Chromium over its DevTools pipe: opens a page, looks at it, presses keys, sees what it asks for."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


def find():
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page. `seen` are the events that the page caused, oldest first."""

    def __init__(self, program, profile):
        to_browser, ours = os.pipe()
        theirs, from_browser = os.pipe()
        # the browser reads commands from its descriptor 3 and writes to its 4
        shell = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$0" "$@"'
        arguments = [
            "--headless", "--remote-debugging-pipe", "--hide-scrollbars", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--no-first-run", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "-c", shell, program, *arguments], pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._out, self._in = ours, theirs
        self._buffer, self._number, self._session = b"", 0, None
        self.seen = []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        given = {"targetId": target["targetId"], "flatten": True}
        self._session = self.call("Target.attachToTarget", **given)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._out)
        os.close(self._in)

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        number = self._number
        while True:
            answer = self._next(30)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self, seconds):
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError("the browser says nothing")
            part = os.read(self._in, 1 << 20)
            assert part, "the browser is gone"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self.seen.append(message)
        return message

    def open(self, path, width=1100, height=900, *, is_dark=False, scale=1):
        """Show a file in a window of this size; returns when it has been laid out."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="screen", features=[scheme])
        self.seen.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(one["method"] == "Page.loadEventFired" for one in self.seen):
            self._next(30)
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script):
        """The value of an expression in the page, as the test's own: the page's policy does not hold it back."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key, code=None, text=None):
        given = {"key": key, "code": code or key, "windowsVirtualKeyCode": {"Tab": 9, "Enter": 13}[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **given, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def methods(self, *names):
        return [one["params"] for one in self.seen if one["method"] in names]

    def screenshot(self, path, *, is_whole=True):
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=is_whole, **self._clip(is_whole))
        path.write_bytes(base64.b64decode(shot["data"]))

    def _clip(self, is_whole):
        if not is_whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def pdf(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))
