# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An id belongs to one VM and session, which are found without being named; a second one is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.command import Completed, run_ansible, words_of
from tests.unit.fake_opencode import FakeOpenCode

from .controller import Controller
from .served import closed_port, served

REFUSED = (4, "id_elsewhere")
TASK = ("affordabot", "Run make test")


class Pair:
    """A person's machine and two VMs; the default one is epyc6."""

    def __init__(self, controller: Controller, stack: ExitStack) -> None:
        self.controller = controller
        self.servers = {"epyc6": controller.fake, "macmini": FakeOpenCode()}
        other = stack.enter_context(served(self.servers["macmini"]))
        self.ports = {"epyc6": controller.port, "macmini": other}
        self.describe()

    def describe(self) -> None:
        vms = {vm: {"opencode": f"http://127.0.0.1:{port}"} for vm, port in self.ports.items()}
        self.controller.write({"vms": vms, "default_vm": "epyc6"})

    def run(self, *words: str) -> Completed:
        return self.controller.run(*words, "--no-wait", "--json")

    def forget(self) -> None:
        """What was recorded on this machine goes: it is another one from now on."""
        self.record.unlink()

    @property
    def record(self) -> Path:
        return self.controller.root / "home" / ".local" / "state" / "dx-fleet" / "dispatches.jsonl"

    def prompts(self) -> dict[str, int]:
        """How many tasks each VM was sent."""
        return {
            vm: sum(path.endswith("/prompt_async") for method, path in server.requests if method == "POST")
            for vm, server in self.servers.items()
        }


@pytest.fixture
def pair(controller: Controller) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(controller, stack)


def sent(pair: Pair) -> str:
    """Dispatch an id to macmini; returns the command that joins it."""
    done = pair.run("macmini", *TASK, "--id", "d1")
    result = done.result()
    assert (done.code, result["state"], result["vm"]) == (0, "running", "macmini"), done
    assert pair.prompts() == {"epyc6": 0, "macmini": 1}
    return str(result["next_action"])


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded here", "by asking"])
@pytest.mark.parametrize("words", [("--id", "d1"), (*TASK, "--id", "d1")], ids=["joined", "sent again"])
def test_an_id_without_a_vm_is_found(pair: Pair, recorded: bool, words: tuple[str, ...]) -> None:
    sent(pair)
    if not recorded:
        pair.forget()
    asked = len(pair.servers["epyc6"].requests)
    result = pair.run(*words).result()
    assert (result["vm"], result["dispatch"], result["reason_code"]) == ("macmini", "d1", "already_sent")
    assert pair.prompts() == {"epyc6": 0, "macmini": 1}
    assert (len(pair.servers["epyc6"].requests) > asked) is not recorded


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded here", "by asking"])
def test_a_second_vm_is_refused(pair: Pair, recorded: bool) -> None:
    joining = sent(pair)
    if not recorded:
        pair.forget()
    done = pair.run("epyc6", *TASK, "--id", "d1")
    error = done.document()["error"]
    assert (done.code, error["reason_code"]) == REFUSED, done
    assert error["next_action"] == joining == "dx-dispatch macmini --id d1"
    assert pair.prompts() == {"epyc6": 0, "macmini": 1}
    joined = pair.run(*words_of(joining)[1:]).result()
    assert (joined["vm"], joined["reason_code"]) == ("macmini", "already_sent")


def test_an_id_stays_in_the_session_that_it_resumed(pair: Pair) -> None:
    macmini = pair.servers["macmini"]
    for name in ("ses_a", "ses_b"):
        macmini.session(name)
    first = pair.run("macmini", *TASK, "--id", "d1", "--session", "ses_a")
    assert (first.code, first.result()["session"]) == (0, "ses_a"), first
    for words in (("--id", "d1"), ("macmini", *TASK, "--id", "d1")):
        again = pair.run(*words).result()
        assert (again["session"], again["reason_code"]) == ("ses_a", "already_sent")
    other = pair.run("macmini", *TASK, "--id", "d1", "--session", "ses_b")
    assert (other.code, other.document()["error"]["reason_code"]) == REFUSED, other
    assert pair.prompts() == {"epyc6": 0, "macmini": 1}


def test_a_new_id_goes_where_it_is_sent(pair: Pair) -> None:
    assert pair.run(*TASK, "--id", "d2").result()["vm"] == "epyc6"
    assert pair.run("macmini", *TASK, "--id", "d3").result()["vm"] == "macmini"
    known = [json.loads(line) for line in pair.record.read_text().splitlines()]
    assert [(each["dispatch"], each["vm"]) for each in known] == [("d2", "epyc6"), ("d3", "macmini")]


def test_a_vm_that_cannot_be_asked_is_named_and_does_not_stop_the_others(pair: Pair) -> None:
    pair.ports["macmini"] = closed_port()
    pair.describe()
    done = pair.run("epyc6", *TASK, "--id", "d4")
    assert (done.code, done.result()["state"]) == (0, "running"), done
    assert "macmini could not be asked whether it has the dispatch d4" in " ".join(done.err.split())


def test_an_id_that_no_vm_has_is_not_joined(pair: Pair) -> None:
    done = pair.run("--id", "d5")
    assert (done.code, done.result()["reason_code"]) == (4, "unknown_dispatch"), done
    assert pair.prompts() == {"epyc6": 0, "macmini": 0}


def test_people_see_the_id_and_the_command_that_joins_it(pair: Pair) -> None:
    done = pair.controller.run("macmini", *TASK, "--id", "d6", "--no-wait")
    assert "    dispatch d6, session ses_" in done.out
    assert "    next: dx-dispatch macmini --id d6\n" in done.out


@pytest.mark.parametrize(
    ("variables", "code", "sent_to"),
    [
        ({"id": "d1", "target": "epyc6"}, 4, None),
        ({"id": "d1"}, 0, None),
        ({"id": "d1", "target": "macmini"}, 0, None),
        ({"id": "d7", "target": "epyc6"}, 0, "epyc6"),
    ],
    ids=["a second VM", "no VM", "its VM", "a new id"],
)
def test_the_playbook_does_the_same(
    pair: Pair, variables: dict[str, str], code: int, sent_to: str | None
) -> None:
    sent(pair)
    asked = {"repo": "affordabot", "task": "Run make test", "no_wait": True, **variables}
    words = ("-i", str(pair.controller.file), "dx.fleet.dispatch", "-e", json.dumps(asked))
    done = run_ansible("ansible-playbook", *words, env=pair.controller.env)
    assert (done.code == 0) is (code == 0), done
    if code:
        assert "an id belongs to one VM" in done.out + done.err
    assert pair.prompts() == {"epyc6": int(sent_to == "epyc6"), "macmini": 1}
