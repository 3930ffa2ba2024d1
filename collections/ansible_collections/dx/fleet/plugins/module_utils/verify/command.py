# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one command, and end all that it started.

A supervisor of its own stands between this process and the command. On Linux it is a subreaper: whatever the
command starts, however it detaches, becomes a child of the supervisor when its parent ends. So when the
supervisor has no child left, nothing of the command lives. If this process dies, the supervisor notices it at
a pipe, and ends the rest. If the supervisor dies, this process, a subreaper too, ends the rest.

Elsewhere a daemon can only be found by a variable of its environment; then that nothing survives is not
proven.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from contextlib import suppress
from dataclasses import asdict, dataclass
from selectors import EVENT_READ, DefaultSelector

from ..processes import command_of, descendants_of, marked
from .output import Output

__all__ = ["MARKER", "Run", "end_marked", "run"]

MARKER = "DX_FLEET_CHECK"
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 2.0  # between SIGTERM and SIGKILL, where its time is over
_END_WITHIN_S = 10.0
_CHUNK = 1 << 16
_SHOWN = 5  # commands of processes that were left
_LAST_CHUNKS = 256  # a pipe holds fewer, unless one writes on that can't be ended


@dataclass(frozen=True)
class Run:
    """How a command ended.

    Attributes:
        rc: Its exit code, negative for a signal; None: it never ended by itself, or was not started.
        seconds: How long it ran.
        timed_out: Whether it was ended because its time was over.
        error: Why there is no more to say: it could not be started, or its supervisor was killed.
        left: How many processes were still running when it had ended.
        left_commands: Some of them, for a person.
        alive: How many could not be ended.
        proven: Whether it is certain that no process but those ``alive`` is left.
    """

    rc: int | None
    seconds: float
    timed_out: bool = False
    error: str | None = None
    left: int = 0
    left_commands: tuple[str, ...] = ()
    alive: int = 0
    proven: bool = False


def run(
    command: str, directory: str, timeout_s: float, output: Output, marker: str, env: t.Mapping[str, str]
) -> Run:
    """Run a command by ``/bin/sh`` to its end, or to the end of its time, and end what it left.

    Args:
        command: For the shell.
        directory: Where it runs.
        timeout_s: How long it may take, in seconds.
        output: Where its standard output and error go.
        marker: What is in its environment, by which a later run finds what is left.
        env: Its environment.
    """
    began = time.monotonic()
    alive_read, alive_write = os.pipe()
    result_read, result_write = os.pipe()
    had = _become_subreaper(1)
    sys.stdout.flush()
    sys.stderr.flush()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(alive_write)
        os.close(result_read)
        _Supervisor(alive_read, output, began + timeout_s).serve(
            result_write, command, directory, {**env, MARKER: marker}
        )
    os.close(alive_read)
    os.close(result_write)
    try:
        with os.fdopen(result_read, "rb") as pipe:
            told = pipe.read()
        os.waitpid(supervisor, 0)
        if told:
            return Run(**{**json.loads(told), "left_commands": tuple(json.loads(told)["left_commands"])})
        found, alive, proven = _end_all(marker, had)
        return Run(
            None,
            round(time.monotonic() - began, 3),
            error="what supervised it was killed",
            left=len(found),
            alive=alive,
            proven=proven,
        )
    finally:
        os.close(alive_write)
        _become_subreaper(0)


def end_marked(marker: str) -> int:
    """End what a run that was killed left behind, as far as it bears the marker; how many that were."""
    found = [pid for pid in marked(f"{MARKER}={marker}") if pid != os.getpid()]
    for pid in found:
        _kill(pid, signal.SIGKILL)
    return len(found)


class _Supervisor:
    """The process that the command's descendants come back to. It has no thread and ends by ``_exit``."""

    def __init__(self, alive: int, output: Output, deadline: float) -> None:
        self._alive = alive
        self._output = output
        self._deadline = deadline
        self._stopped = False
        self._rc: int | None = None
        self._command = 0
        self._marker = ""
        self._events = DefaultSelector()

    def serve(self, result: int, command: str, directory: str, env: t.Mapping[str, str]) -> t.NoReturn:
        """Run the command, write what became of it as JSON, and end."""
        code = 1
        try:
            told = json.dumps(asdict(self._run(command, directory, env))).encode()
            while told:
                told = told[os.write(result, told) :]
            code = 0
        except BrokenPipeError:
            pass  # whoever wanted to know is gone
        except BaseException:  # nothing above may run twice: this is a copy of the process
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _run(self, command: str, directory: str, env: t.Mapping[str, str]) -> Run:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        reaps = _become_subreaper(1)
        self._marker = env[MARKER]
        began = time.monotonic()
        pipe_read, pipe_write = os.pipe()
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                cwd=directory,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=pipe_write,
                stderr=pipe_write,
                start_new_session=True,
            )
        except OSError as error:
            self._output.close()
            return Run(None, 0.0, error=f"it could not be started: {error.strerror}", proven=True)
        finally:
            os.close(pipe_write)
        self._command = process.pid
        for descriptor in (self._alive, wake_read, pipe_read):
            os.set_blocking(descriptor, False)
            self._events.register(descriptor, EVENT_READ)
        self._pipe, self._wake = pipe_read, wake_read
        while self._rc is None and not self._stopped and time.monotonic() < self._deadline:
            self._step(self._deadline - time.monotonic())
        seconds = time.monotonic() - began
        process.returncode = self._rc if self._rc is not None else -signal.SIGKILL
        timed_out = self._rc is None and not self._stopped
        left = {pid for pid in descendants_of(os.getpid()) if pid != self._command}
        commands = tuple(command_of(pid) for pid in sorted(left)[:_SHOWN])
        rc = self._rc
        if timed_out:
            self._terminate()
        found, alive, proven = _end_all(self._marker, reaps, self._step)
        left |= found - {self._command}
        for _ in range(_LAST_CHUNKS):
            if not self._read():
                break
        self._output.close()
        return Run(rc, round(seconds, 3), timed_out, None, len(left), commands, alive, proven)

    def _stop(self, *_: object) -> None:
        self._stopped = True

    def _terminate(self) -> None:
        """Let it tidy up: SIGTERM, and a moment."""
        deadline = time.monotonic() + _GRACE_S
        for pid in descendants_of(os.getpid()) or [self._command]:
            _kill(pid, signal.SIGTERM)
        while time.monotonic() < deadline and not self._stopped and self._has_children:
            self._step(deadline - time.monotonic())

    _has_children = True

    def _step(self, timeout_s: float) -> None:
        """Wait for something to happen, and take it in."""
        for key, _ in self._events.select(max(0.0, timeout_s)):
            if key.fd == self._pipe:
                self._read()
            elif key.fd == self._alive:
                self._events.unregister(self._alive)
                self._stopped = True  # whoever wanted to know is gone
            else:
                with suppress(BlockingIOError):
                    os.read(self._wake, _CHUNK)
        self._reap()

    def _read(self) -> bool:
        """Take in some output; False: there is none at the moment, or no more."""
        try:
            data = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            with suppress(KeyError):
                self._events.unregister(self._pipe)
            return False
        self._output.write(data)
        return True

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._command:
                    self._rc = os.waitstatus_to_exitcode(status)
        self._has_children = False


def _end_all(
    marker: str, reaps: bool, step: t.Callable[[float], None] | None = None
) -> tuple[set[int], int, bool]:
    """Kill every descendant of this process: all that were found, how many live, whether that is sure."""
    deadline = time.monotonic() + _END_WITHIN_S
    found: set[int] = set()
    while True:
        left = set(descendants_of(os.getpid())) | set(marked(f"{MARKER}={marker}"))
        found |= left
        for pid in left:
            _kill(pid, signal.SIGKILL)
        if step is not None:
            step(0.02)
        gone = _no_children()
        if gone and not left:
            return found, 0, reaps
        if time.monotonic() > deadline:
            return found, len(left), False
        if step is None:
            time.sleep(0.02)


def _no_children() -> bool:
    """Reap what has ended; whether no child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _become_subreaper(on: int) -> bool:
    """Have orphans among the descendants become children of this process; False: the system can't."""
    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False
