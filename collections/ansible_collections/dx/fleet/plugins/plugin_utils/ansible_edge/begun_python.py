# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module of ours that is loaded on a VM before it is known when it is needed, and what for.

A stop asks the VM as soon as nothing works any more. By then, while the server is asked, the VM is reached,
Python is started there, and what it is given is compiled. From Slack to the proof that is 0.06 s less (median
2.47 s instead of 2.53 s), and where all cores are busy 2.9 s instead of 3.0 s at the most (24 and 12 rounds).
``DX_FAST_START=0`` turns it off, as the rest of :mod:`..launch.fast_start`.
"""

from __future__ import annotations

import json
import select
import shlex
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from typing import Any, cast

from ansible.plugins.action import ActionBase

from ..domain.clock import SYSTEM_CLOCK
from .by_stdin import BEGUN, MARK, program_of, python_of, result_in
from .ssh_connection import command_of

__all__ = ["BegunPython", "begun_python"]

BEGIN_S = 10.0  # as long as Ansible's ssh tries to connect
ANSWER_S = 90.0  # what is used so takes half as long at most

# Not "-", with which Python takes all that comes on standard input for the program.
READER = "import sys; exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
ANSWERING = """
on_host.function_of(given["module"])
print(chr(10) + {begun!r}, flush=True)
for line in sys.stdin:
    result = on_host.result_of(given["module"], json.loads(line), given["check"])
    print({mark!r} + json.dumps(result), flush=True)
"""


@contextmanager
def begun_python(
    action: ActionBase, module: str, task_vars: Mapping[str, Any]
) -> Iterator[BegunPython | None]:
    """A module on the host of a task, until the context ends; None where it can't be run so.

    Args:
        action: The task's; its connection is used, where that is one by SSH.
        module: Its name, such as ``dx.fleet.work_processes``.
        task_vars: Of the task.
    """
    python = python_of(action, task_vars)
    if python is None or action._connection.transport != "ssh":
        yield None
        return
    command = f"{python} -c {shlex.quote(READER)}"
    words = (*command_of(action._connection), f"/bin/sh -c {shlex.quote(command)}")
    try:
        begun = BegunPython(words, program_of(action, module, ANSWERING, {}))
    except OSError:  # who asks by Ansible's own connection says what is wrong
        yield None
        return
    try:
        yield begun
    finally:
        begun.end()


class BegunPython:
    """A process with a program that returns something for each line that it is given.

    Args:
        command: Reads the program as :data:`READER` does.
        program: Its code; :data:`ANSWERING` at its end.

    Raises:
        OSError: The command can't be started.
    """

    def __init__(self, command: Sequence[str], program: bytes) -> None:
        self._one_at_a_time = threading.Lock()
        self._unread = b""
        self._begun: bool | None = None
        # A session of its own: the SSH connection that it may open serves others as well.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._stdin = cast(BufferedWriter, self._process.stdin)
        self._stdout = cast(BufferedReader, self._process.stdout)
        # As long as the VM is not reached nobody reads it, and a pipe may take less (16 KiB on macOS).
        given = b"%d\n%b" % (len(program), program)
        self._giving = threading.Thread(target=self._give, args=(given,), daemon=True)
        self._giving.start()

    def result_of(self, options: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the module returns. From several threads, one after the other is served.

        Args:
            options: Of the module, of the right types and JSON-ready.

        Returns:
            None where nothing was done, as it has not begun. Where something else came back than what it
            returns, it ``failed`` and is ``not_seen``.
        """
        with self._one_at_a_time:
            if not self._has_begun():
                return None
            self._give(json.dumps(options).encode() + b"\n")
            result = result_in([self._line(MARK, ANSWER_S)])
            if result is not None:
                return result
            self._begun = False
            return {"failed": True, "not_seen": True, "msg": "what was begun on the host returned nothing"}

    def end(self) -> None:
        """Let it end, as its input is over; nobody waits for that."""
        if self._giving.is_alive():
            self._process.kill()
        with suppress(BrokenPipeError):
            self._stdin.close()

    def _has_begun(self) -> bool:
        if self._begun is None:
            self._begun = self._line(BEGUN, BEGIN_S) == BEGUN
        return self._begun

    def _give(self, data: bytes) -> None:
        with suppress(BrokenPipeError):  # it has ended, so that nothing comes back
            self._stdin.write(data)
            self._stdin.flush()

    def _line(self, beginning: str, timeout_s: float) -> str:
        """The next line that begins so; empty where none comes in time, or it has ended."""
        deadline = SYSTEM_CLOCK.monotonic() + timeout_s
        while True:
            line, end, rest = self._unread.partition(b"\n")
            if end:
                self._unread = rest
                if line.startswith(beginning.encode()):
                    return line.decode(errors="replace")
                continue
            left = max(0.0, deadline - SYSTEM_CLOCK.monotonic())
            said = self._stdout.read1() if select.select([self._stdout], [], [], left)[0] else b""
            if not said:
                return ""
            self._unread += said
