# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the product as a person runs them: in processes and a directory of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

__all__ = [
    "CHECKOUT",
    "Completed",
    "Running",
    "command_of",
    "environment",
    "run_ansible",
    "run_dispatch",
    "run_fleet",
    "start_ansible",
    "start_dispatch",
    "words_of",
]

CHECKOUT = Path(__file__).parents[1]
COLLECTIONS = CHECKOUT / "collections"
_STARTUP = CHECKOUT / "tests" / "startup"

_ENTRIES = {"dx-dispatch": "main", "dx-fleet": "fleet_main"}
_ENTRY = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import {0}; {0}()"
# The last: without byte code each command would compile all of us, a third of its time.
_NOT_INHERITED = ("ANSIBLE_", "SLACK_", "DX_VM_ENDPOINTS", "DX_LAB_PASSWORD_", "PYTHONDONTWRITEBYTECODE")
_PATIENCE_S = 120.0

# Ansible kills a worker that still lives when the last result has come: while it saves what was measured, say.
_TIME_TO_SAVE = {"ANSIBLE_WORKER_SHUTDOWN_POLL_COUNT": "100", "ANSIBLE_WORKER_SHUTDOWN_POLL_DELAY": "0.05"}


@dataclass(frozen=True)
class Completed:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output.

        Raises:
            AssertionError: There is another thing, or more.
        """
        try:
            data = json.loads(self.out)
        except ValueError as error:
            raise AssertionError(f"not one JSON document: {error}\n{self.out}\n{self.err}") from error
        assert isinstance(data, dict), self.out
        return data

    def result(self) -> dict[str, Any]:
        """The only entry of the document's ``results``."""
        results = self.document()["results"]
        assert len(results) == 1, self.out
        found: dict[str, Any] = results[0]
        return found

    def results(self) -> dict[str, dict[str, Any]]:
        """The document's ``results`` by VM."""
        return {result["vm"]: result for result in self.document()["results"]}


class Running:
    """A command under way, in a process group of its own as a shell's job is."""

    def __init__(
        self,
        command: list[str],
        env: Mapping[str, str],
        cwd: Path,
        stdin: str | None,
        *,
        typing: bool = False,
    ) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None and not typing else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._said: dict[str, str] = {"out": "", "err": ""}
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()
        if self._process.stdin is not None and not typing:
            with self._process.stdin as pipe:
                pipe.write((stdin or "").encode())

    @property
    def pid(self) -> int:
        """Its process id, which is its group's as well."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait_for(self, text: str, timeout_s: float = _PATIENCE_S) -> None:
        """Wait till it has said this on standard output.

        Raises:
            AssertionError: It has not, and ended or took too long.
        """
        with self._changed:
            said = self._changed.wait_for(
                lambda: text in self._said["out"] or not self._readers[0].is_alive(), timeout=timeout_s
            )
        assert said, f"{text!r} was not said:\n{self._said}"
        assert text in self._said["out"], f"{text!r} was not said:\n{self._said}"

    def interrupt(self, *, group: bool = True, number: signal.Signals = signal.SIGINT) -> None:
        """What Ctrl-C does: SIGINT to all of the job; else to the command's own process alone."""
        if group:
            os.killpg(self.pid, number)
        else:
            self._process.send_signal(number)

    def finish(self, timeout_s: float = _PATIENCE_S) -> Completed:
        """Wait for its end; it is killed, and the test fails, if that takes too long."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"not finished after {timeout_s} s:\n{self._said}") from None
        for reader in self._readers:
            reader.join(timeout=10)
        return Completed(code, self._said["out"], self._said["err"])

    def family(self) -> list[psutil.Process]:
        """It and all processes that it has started, as of now."""
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def kill(self) -> None:
        """End it and all that it started."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self, name: str, stream: IO[bytes] | None) -> None:
        assert stream is not None
        with stream:
            for line in stream:
                self._take(name, line.decode())
        self._take(name, "")

    def _take(self, name: str, text: str) -> None:
        with self._changed:
            self._said[name] += text
            self._changed.notify_all()


def start_dispatch(
    *arguments: str,
    env: Mapping[str, str],
    stdin: str | None = None,
    typing: bool = False,
    cwd: Path | None = None,
) -> Running:
    """Start dx-dispatch.

    Args:
        arguments: Its words.
        env: Added to this process' environment, of which settings of Ansible and Slack are left out.
        stdin: Its standard input; none by default.
        typing: Its standard input has nothing yet and no end.
        cwd: Where; the root directory by default, so that nothing of a checkout is found by chance.
    """
    return Running([*command_of("dx-dispatch"), *arguments], env, cwd or Path("/"), stdin, typing=typing)


def run_dispatch(
    *arguments: str,
    env: Mapping[str, str],
    stdin: str | None = None,
    cwd: Path | None = None,
    timeout_s: float = _PATIENCE_S,
) -> Completed:
    """Run dx-dispatch to its end; see :func:`start_dispatch`."""
    return start_dispatch(*arguments, env=env, stdin=stdin, cwd=cwd).finish(timeout_s)


def run_fleet(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None, timeout_s: float = _PATIENCE_S
) -> Completed:
    """Run dx-fleet to its end; see :func:`start_dispatch`."""
    running = Running([*command_of("dx-fleet"), *arguments], env, cwd or Path("/"), None)
    return running.finish(timeout_s)


def start_ansible(program: str, *arguments: str, env: Mapping[str, str], cwd: Path = CHECKOUT) -> Running:
    """Start a program of Ansible, such as ``ansible-playbook``; it finds this checkout's collection."""
    found = Path(sys.executable).parent / program
    return Running([str(found), *arguments], {"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), **env}, cwd, None)


def run_ansible(
    program: str,
    *arguments: str,
    env: Mapping[str, str],
    cwd: Path = CHECKOUT,
    timeout_s: float = _PATIENCE_S,
) -> Completed:
    """Run a program of Ansible to its end; see :func:`start_ansible`."""
    return start_ansible(program, *arguments, env=env, cwd=cwd).finish(timeout_s)


def words_of(line: str) -> list[str]:
    """The words that a shell makes of a line that a person pastes."""
    shown = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, timeout=30
    )
    return shown.stdout.decode().split("\0")[:-1]


def command_of(program: str) -> list[str]:
    """The words that start a program of ours."""
    installed = Path(sys.executable).parent / program
    by_module = [sys.executable, "-c", _ENTRY.format(_ENTRIES[program])]
    return [str(installed)] if installed.exists() else by_module


def environment(added: Mapping[str, str]) -> dict[str, str]:
    """This process' environment, without settings of Ansible and Slack, and with what is added."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    measured = "COVERAGE_PROCESS_CONFIG" in own
    places = (str(_STARTUP) if measured else None, str(COLLECTIONS), own.get("PYTHONPATH"))
    path = {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    return own | path | (_TIME_TO_SAVE if measured else {}) | dict(added)
