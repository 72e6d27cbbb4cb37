"""A process that has imported what stages import, and forks for each: a stage starts in a tenth of a second, not in
three seconds.

`serving` starts it for as long as a command runs. Every ``python -m pipelines.X`` below that command asks it
(`pipelines/__init__.py`), and a fork takes over module, arguments, folder, environment, input and output. The process
that forks has computed nothing, so that numbers are those of a process of its own, to the last bit; DVC sees the
command that it knows, with its exit code. The fork ends when the process that asked for it ends, and when the whole
command does, however these end.
"""

import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

SERVER = "BENCH_WARM_SERVER"
STANDARD = (0, 1, 2)
# Of a process that ends without a result, and of one that Ctrl-C ends.
FAILED, INTERRUPTED, KILLED = 1, 130, 128


@contextmanager
def serving() -> Iterator[None]:
    """Stages that are started inside start warm. Only on Linux: elsewhere a process with torch in it must not fork."""
    if sys.platform != "linux":
        yield
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, socket.socket(socket.AF_UNIX) as listening:
        address = str(Path(folder, "warm"))
        listening.bind(address)
        listening.listen()
        # The server's input ends when this process does.
        server = subprocess.Popen(
            [sys.executable, "-m", "pipelines.warm", str(listening.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            env={name: value for name, value in os.environ.items() if name != SERVER},
            start_new_session=True,
        )
        listening.close()  # the server's own is left, so that who asks after it has ended is refused and does not wait
        outer = os.environ.get(SERVER)
        os.environ[SERVER] = f"{address}:{os.getcwd()}"
        try:
            yield
        finally:
            del os.environ[SERVER]
            if outer:
                os.environ[SERVER] = outer
            server.stdin.close()
            server.wait()


def take_over(module: str, arguments: list[str]) -> None:
    """Let a fork of the server run this process's module, and end with its exit code; return if there is no server, or
    one of another folder, whose code may differ."""
    address, _, folder = os.environ[SERVER].partition(":")
    if folder != os.getcwd():
        return
    request = {"module": module, "arguments": arguments, "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(address)
            socket.send_fds(asking, [b" "], STANDARD)
            asking.sendall(json.dumps(request).encode() + b"\n")
        except OSError:  # it has ended
            return
        try:
            code = asking.recv(1)
        except ConnectionError:
            code = b""
        except KeyboardInterrupt:
            os._exit(INTERRUPTED)
    if not code:
        print("error: the process that runs stages was ended from outside; run the command again", file=sys.stderr)
    os._exit(code[0] if code else FAILED)


class _Server:
    """Forks for each request, until its input ends."""

    def __init__(self, listening: socket.socket):
        self.listening = listening
        self.running: dict[int, socket.socket] = {}  # who asked, by the process that took over
        self.ready = selectors.DefaultSelector()
        self.taken: dict | None = None
        self.over = False

    def serve(self) -> dict | None:
        """Returns in each fork, with what it is to run; and at the end, with None."""
        self._when(self.listening, self._answer)
        self._when(sys.stdin, self._stop)
        while not (self.taken or self.over):
            for key, _ in self.ready.select():
                key.data()
                if self.taken:
                    break
        return self.taken

    def _when(self, source: Any, then: Callable[[], None]) -> None:
        self.ready.register(source, selectors.EVENT_READ, then)

    def _answer(self) -> None:
        asking, _ = self.listening.accept()
        request, standard = _received(asking)
        pid = os.fork() if request else None
        if pid is not None:
            with suppress(OSError):  # the other of the two was first
                os.setpgid(pid, pid)
        if pid == 0:
            for held in (self.listening, self.ready, asking, *self.running.values()):
                held.close()
            for number, descriptor in zip(STANDARD, standard):
                os.dup2(descriptor, number)
            self.taken = request
        for descriptor in standard:
            os.close(descriptor)
        if pid:
            self.running[pid] = asking
            ended = os.pidfd_open(pid)
            self._when(ended, partial(self._ended, pid, ended))
            self._when(asking, partial(self._left, pid))

    def _ended(self, pid: int, descriptor: int) -> None:
        self.ready.unregister(descriptor)
        os.close(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        asking = self.running.pop(pid)
        if asking.fileno() >= 0:
            self.ready.unregister(asking)
            with suppress(OSError):
                asking.send(bytes([code if code >= 0 else KILLED - code]))
            asking.close()

    def _left(self, pid: int) -> None:
        """Whoever asked has ended, if not because the stage has."""
        if pid in self.running:
            self.ready.unregister(self.running[pid])
            self.running[pid].close()
            _end(pid)

    def _stop(self) -> None:
        for pid in self.running:
            _end(pid)
        self.over = True


def _received(asking: socket.socket) -> tuple[dict | None, list[int]]:
    """A request and the descriptors of its standard files; no request if whoever asked has ended."""
    try:
        _, standard, _, _ = socket.recv_fds(asking, 1, len(STANDARD))
        with asking.makefile("rb") as file:
            content = file.readline()
    except OSError:
        return None, []
    return json.loads(content) if content.endswith(b"\n") else None, standard


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)


def _import() -> None:
    """Import what stages do. What cannot be imported is left to the stage that needs it, which says so."""
    from benchmarks.studies import catalog
    from pipelines import stages

    following = stages.following()
    names = {f"pipelines.{one.command.partition(' ')[0]}" for one in following} | {"pipelines.run"}
    names.add("torch._inductor.config")  # of which `torch.use_deterministic_algorithms` sets a value
    for study, declared in catalog.studies().items():
        modules = [*(family.module for family in declared.families), *(one.name for one in declared.experiments)]
        names |= {f"benchmarks.studies.{study}.{module}" for module in modules}
    for name in sorted(names.union(*(one.roots for one in following))):
        with suppress(Exception):
            import_module(name)


def main() -> None:
    listening = socket.socket(fileno=int(sys.argv[1]))
    _import()
    gc.collect()
    gc.freeze()  # else the collector of a fork copies every page
    taken = _Server(listening).serve()
    if taken:
        os.environ.clear()
        os.environ.update(taken["environment"])
        sys.argv = [taken["module"], *taken["arguments"]]
        import_module(taken["module"]).main()


if __name__ == "__main__":
    main()
