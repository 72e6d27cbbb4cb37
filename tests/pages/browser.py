"""A headless Chromium, spoken to through its debugging pipe: no driver, no port, nothing to install beside it."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE = next((found for name in NAMES if (found := shutil.which(name))), None)
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "Home": 36}


class Browser:
    """One page, without network."""

    def __init__(self, width: int = 1100, height: int = 900):
        self.profile = tempfile.mkdtemp()
        reads, self.to = os.pipe()
        self.back, writes = os.pipe()

        def wire() -> None:  # Chromium reads commands on 3 and answers on 4
            os.dup2(reads, 13)
            os.dup2(writes, 14)
            os.dup2(13, 3)
            os.dup2(14, 4)

        command = [EXECUTABLE, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        command += [f"--user-data-dir={self.profile}", f"--window-size={width},{height}", "about:blank"]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, preexec_fn=wire, close_fds=False, stdin=quiet, stdout=quiet, stderr=quiet
        )
        os.close(reads)
        os.close(writes)
        self.buffer, self.count, self.session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Network.enable")
        # Whatever a page would fetch, it must do without.
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.back)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method: str, **parameters) -> dict:
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, path: Path, rest: str = "") -> None:
        """A file, with whatever follows it in the address."""
        self.call("Page.navigate", url=path.resolve().as_uri() + rest)
        while self.run("document.readyState") != "complete":
            pass

    def run(self, script: str):
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEYS[key], text=text)

    def tree(self) -> list[tuple[str, str]]:
        """What a screen reader is told: (role, name) of every node."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        kept = [node for node in nodes if not node.get("ignored")]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in kept]

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _next(self) -> dict:
        while b"\0" not in self.buffer:
            self.buffer += os.read(self.back, 1 << 20)
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)
