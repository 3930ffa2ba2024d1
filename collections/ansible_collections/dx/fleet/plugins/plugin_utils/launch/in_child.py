# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of a playbook in a process of its own: for a program that goes on, and for several runs at a time.

The child gets what to run on its standard input, so no task text is ever in a command line that others can
read. On its standard output it writes a line of JSON per event, and one more where the run could not begin.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ..domain.errors import FleetError
from ..domain.outcome import State
from ..domain.progress import Emit, ProgressEvent, discard
from .collected import Collected, ResultFile
from .playbook_run import PlaybookRun

__all__ = ["InChild", "RunFailed", "main"]

MODULE = "ansible_collections.dx.fleet.plugins.plugin_utils.launch.in_child"
LAST_WORDS = 2000  # bytes of what the child wrote on standard error


class RunFailed(FleetError):
    """A run could not begin, or its process died."""


class InChild:
    """Runs one playbook in another process; see :class:`.Launcher`.

    Where the caller is interrupted meanwhile, the child is asked to detach, as by Ctrl-C. Where the caller
    dies, the child goes on to the end of its run: claims are ended and facts recorded as ever.

    Args:
        environ: The child's environment; this process' own by default.
        cwd: Its current folder; a relative path in the inventory and the search for a workspace of Beads
            begin there. This process' own by default.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._cwd = cwd
        self._results = ResultFile()

    def run(self, playbook: PlaybookRun, progress: Emit = discard) -> Collected:
        """Run it; see :meth:`.Launcher.run`.

        Raises:
            RunFailed: It could not begin, or its process died.
        """
        with tempfile.TemporaryFile() as errors, self._start(errors) as child:
            try:
                _hand_over(child, {"playbook": playbook.as_dict(), "results": self._results.descriptor})
                failure = _follow(child, progress)
            except BaseException:
                child.send_signal(signal.SIGTERM)
                raise
            code = child.wait()
            if failure is not None:
                raise failure
            if code != 0:
                raise RunFailed(
                    f"the process of the run ended with {code}: {_last_words(errors) or 'without a word'}",
                    reason_code="run_died",
                )
        return self.so_far()

    def so_far(self) -> Collected:
        """What its tasks have returned until now."""
        return self._results.collected()

    def _start(self, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).parents[6])
        path = os.pathsep.join(filter(None, (root, self._environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**self._environ, "PYTHONPATH": path},
            cwd=self._cwd,
            pass_fds=[self._results.descriptor],
            start_new_session=True,  # Ctrl-C in a terminal is for the caller to hand on
        )


def _hand_over(child: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
    if child.stdin is None:
        raise AssertionError
    try:
        with child.stdin as pipe:
            pipe.write(json.dumps(request).encode())
    except BrokenPipeError:
        pass  # it died at once: its end says why


def _follow(child: subprocess.Popen[bytes], progress: Emit) -> FleetError | None:
    """Hand on each event until the child closes its output; returns why its run could not begin."""
    if child.stdout is None:
        raise AssertionError
    failure: FleetError | None = None
    for line in child.stdout:
        said = json.loads(line)
        if "failed" in said:
            failure = RunFailed(**{**said["failed"], "state": State(said["failed"]["state"])})
        else:
            progress(ProgressEvent.from_dict(said))
    return failure


def _last_words(errors: IO[bytes]) -> str:
    end = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, end - LAST_WORDS))
    lines = errors.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def main() -> int:
    """The child: run what standard input says."""
    request = json.loads(sys.stdin.buffer.read())
    results = ResultFile(request["results"])
    said = _Output()
    from .in_process import InProcess
    from .interrupt import leaving_by

    try:
        with leaving_by(lambda: 0):
            InProcess(results).run(PlaybookRun.from_dict(request["playbook"]), said.event)
    except FleetError as error:
        said.failed(error)
    except Exception as error:
        said.failed(RunFailed(" ".join(str(error).split()) or type(error).__name__, reason_code="own_fault"))
    return 0


class _Output:
    """The standard output that the caller reads; what anything else prints goes to standard error."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)

    def event(self, event: ProgressEvent) -> None:
        self._say(event.as_dict())

    def failed(self, error: FleetError) -> None:
        fields = ("message", "reason_code", "next_action")
        self._say({"failed": {**{name: getattr(error, name) for name in fields}, "state": error.state.value}})

    def _say(self, data: Mapping[str, Any]) -> None:
        line = memoryview(json.dumps(data).encode() + b"\n")
        try:
            while line:
                line = line[self._stream.write(line) or 0 :]
        except BrokenPipeError:
            pass  # the caller is gone: the run goes on to its end


if __name__ == "__main__":
    sys.exit(main())
