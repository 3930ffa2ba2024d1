# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where dx-dispatch waits on a terminal, it asks there, takes the answer and follows on; else it reads nothing."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import termios
import threading
from collections.abc import Iterator

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.session_ids import session_id

from tests.command import command_of, environment
from tests.lab import ScriptedModel

from .fleet import Fleet, Server, fresh_id

pytestmark = pytest.mark.usefixtures("idle_afterwards")

PATIENCE_S = 90.0
PERMISSION = "@permission cat /etc/hosts"
QUESTION = "@question Which colour? | red | blue"


class Terminal:
    """A command on a terminal of its own, as a person sees and types."""

    def __init__(self, fleet: Fleet, *words: str) -> None:
        self._own, theirs = pty.openpty()
        env = environment({**fleet.env, "TERM": "xterm", "COLUMNS": "200"})
        self.process = subprocess.Popen(
            [*command_of("dx-dispatch"), *fleet.arguments, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env,
            cwd="/",
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.raw = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def shown(self) -> str:
        """What stands there, without what only moves and colours."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)

    def wait_for(self, text: str, *, times: int = 1) -> None:
        """Wait till a text stands there."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: self.shown().count(text) >= times or not self._reader.is_alive(), PATIENCE_S
            )
        assert done, self.shown()
        assert self.shown().count(text) >= times, self.shown()

    def type(self, text: str) -> None:
        """What a person's keys do."""
        os.write(self._own, text.encode())

    def finish(self) -> int:
        """Its exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(10)
        return code

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._own)  # hangs up on whatever still sits there

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._own, 65536)
            except OSError:  # the other end is closed
                data = b""
            with self._changed:
                self.raw += data.decode(errors="replace")
                self._changed.notify_all()
            if not data:
                break
        with self._changed:
            self._changed.notify_all()


class Terminals:
    """Terminals that are closed at the end of a test."""

    def __init__(self) -> None:
        self.all: list[Terminal] = []

    def __call__(self, fleet: Fleet, *words: str) -> Terminal:
        self.all.append(Terminal(fleet, *words))
        return self.all[-1]


@pytest.fixture
def terminal() -> Iterator[Terminals]:
    terminals = Terminals()
    yield terminals
    for each in terminals.all:
        each.close()


def answers_in(server: Server, session: str) -> list[list[list[str]]]:
    """What was answered to each call of the question tool, to each of its questions."""
    parts = [part for message in server.messages(session) for part in message["parts"]]
    return [part["state"]["metadata"]["answers"] for part in parts if part.get("tool") == "question"]


@pytest.mark.parametrize(
    ("typed", "code", "end"),
    [("onec\nonce\n", 0, "went on"), ("reject\n", 3, "rejected")],
    ids=["allowed", "rejected"],
)
def test_it_is_asked_there_and_followed_on(
    fleet: Fleet, model: ScriptedModel, terminal: Terminals, typed: str, code: int, end: str
) -> None:
    person = terminal(fleet, "epyc6", "affordabot", f"{PERMISSION}\n@say went on")
    person.wait_for("1. once")
    person.wait_for("> ")
    person.type(typed)
    assert person.finish() == code, person.shown()
    assert end in person.shown()


def test_an_answer_from_elsewhere_withdraws_the_prompt(
    fleet: Fleet, model: ScriptedModel, terminal: Terminals
) -> None:
    dispatch = fresh_id()
    person = terminal(fleet, "epyc6", "affordabot", f"{QUESTION}\n{PERMISSION}\n@say done", "--id", dispatch)
    person.wait_for("> ")
    person.type("blu")  # half a line is no answer
    elsewhere = fleet.look("answer", "epyc6", "red", "--by", "feng")
    assert elsewhere.code == 0, elsewhere.out
    person.wait_for("Answered elsewhere")
    person.wait_for("1. once")  # and it goes on to the next question
    person.wait_for("> ", times=2)
    person.type("once\n")
    assert person.finish() == 0, person.shown()
    assert answers_in(fleet["epyc6"], session_id(dispatch)) == [[["red"]]]


def test_ctrl_c_at_the_prompt_detaches(fleet: Fleet, model: ScriptedModel, terminal: Terminals) -> None:
    dispatch = fresh_id()
    person = terminal(fleet, "epyc6", "affordabot", f"{PERMISSION}\n@say done", "--id", dispatch)
    person.wait_for("> ")
    person.type("\x03")
    assert person.finish() == 130
    assert f"--id {dispatch}" in person.shown().split("Detached")[1]
    assert fleet["epyc6"].pending("permission", session_id(dispatch))


def test_what_an_agent_writes_does_the_terminal_no_harm_and_an_option_is_chosen_by_its_number(
    fleet: Fleet, model: ScriptedModel, terminal: Terminals
) -> None:
    hostile = "@question Clear \x1b]0;owned\x07\x1b[31m? | \u202ered | blue"
    dispatch = fresh_id()
    person = terminal(fleet, "epyc6", "affordabot", f"{hostile}\n@say done", "--id", dispatch)
    person.wait_for("> ")
    asked = person.raw[person.raw.index("The agent waits") :]
    assert "\x1b]0" not in asked
    assert "\x07" not in asked
    assert "\x1b[31m" not in asked
    assert "\u202e" not in asked
    person.type("1\n")  # an option that has such characters is not offered
    assert person.finish() == 0, person.shown()
    assert answers_in(fleet["epyc6"], session_id(dispatch)) == [[["blue"]]]


def test_nothing_is_read_where_nobody_sits(fleet: Fleet, model: ScriptedModel) -> None:
    task = f"{PERMISSION}\n@say never"
    ended = fleet.dispatch("epyc6", "affordabot", task, stdin="once\nonce\n")
    assert (ended.code, ended.result()["state"]) == (6, "needs_input")
    refused = fleet.dispatch("epyc6", "affordabot", task, "--on-input", "ask")
    assert (refused.code, refused.document()["error"]["reason_code"]) == (2, "no_terminal")


def test_a_script_may_have_it_rejected(fleet: Fleet, model: ScriptedModel) -> None:
    ended = fleet.dispatch("epyc6", "affordabot", f"{PERMISSION}\n@say never", "--on-input", "reject")
    assert (ended.code, ended.result()["reason_code"]) == (3, "input_rejected")


def test_a_policy_answers_what_is_trusted(
    fleet: Fleet, model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rules = [
        {"action": "allow", "permission": "external_directory", "pattern": "/etc/*"},
        {"action": "deny", "permission": "external_directory", "pattern": "/root/*"},
    ]
    trusting = fleet.with_top_level(tmp_path_factory.mktemp("policy"), answer_policy=rules)
    both = f"{PERMISSION}\n@permission cat /root/x\n@say went another way"
    answered = trusting.command("epyc6", "affordabot", both)
    assert answered.code == 0, answered
    assert "by answer_policy (allow external_directory: /etc/*)" in answered.out
    assert "by answer_policy (deny external_directory: /root/*)" in answered.out
    assert "went another way" in answered.out
    other = trusting.dispatch("epyc6", "affordabot", "@permission cat /usr/lib/os-release\n@say never")
    assert other.result()["state"] == "needs_input"  # no rule names it
