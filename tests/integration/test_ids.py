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
JOINING = "dx-dispatch macmini --id d1"
NOTHING = {"epyc6": 0, "macmini": 0}


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


@pytest.fixture(scope="module")
def dispatched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair of which macmini has the dispatch d1."""
    with ExitStack() as stack:
        pair = Pair(Controller(tmp_path_factory.mktemp("ids"), stack), stack)
        done = pair.run("macmini", *TASK, "--id", "d1")
        result = done.result()
        assert (done.code, result["state"], result["vm"]) == (0, "running", "macmini"), done
        assert result["next_action"] == JOINING
        assert pair.prompts() == {"epyc6": 0, "macmini": 1}
        yield pair


@pytest.fixture
def sent(dispatched: Pair) -> Iterator[Pair]:
    """That pair, of which this machine recorded no more than the dispatch, and no VM was asked anything since."""
    for server in dispatched.servers.values():
        server.requests.clear()
    recorded = dispatched.record.read_bytes()
    yield dispatched
    dispatched.record.write_bytes(recorded)


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded here", "by asking"])
@pytest.mark.parametrize("words", [("--id", "d1"), (*TASK, "--id", "d1")], ids=["joined", "sent again"])
def test_an_id_without_a_vm_is_found(sent: Pair, recorded: bool, words: tuple[str, ...]) -> None:
    if not recorded:
        sent.forget()
    result = sent.run(*words).result()
    assert (result["vm"], result["dispatch"], result["reason_code"]) == ("macmini", "d1", "already_sent")
    assert sent.prompts() == NOTHING
    assert bool(sent.servers["epyc6"].requests) is not recorded


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded here", "by asking"])
def test_a_second_vm_is_refused(sent: Pair, recorded: bool) -> None:
    if not recorded:
        sent.forget()
    done = sent.run("epyc6", *TASK, "--id", "d1")
    error = done.document()["error"]
    assert (done.code, error["reason_code"]) == REFUSED, done
    assert error["next_action"] == JOINING
    assert sent.prompts() == NOTHING


def test_the_command_that_joins_an_id_does(sent: Pair) -> None:
    joined = sent.run(*words_of(JOINING)[1:]).result()
    assert (joined["vm"], joined["reason_code"]) == ("macmini", "already_sent")
    assert sent.prompts() == NOTHING


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
    assert pair.prompts() == NOTHING


def test_people_see_the_id_and_the_command_that_joins_it(pair: Pair) -> None:
    done = pair.controller.run("macmini", *TASK, "--id", "d6", "--no-wait")
    assert "    dispatch d6, session ses_" in done.out
    assert "    next: dx-dispatch macmini --id d6\n" in done.out


@pytest.mark.parametrize(
    ("variables", "refused"),
    [({"target": "epyc6"}, True), ({}, False)],
    ids=["a second VM", "no VM"],
)
def test_the_playbook_does_the_same(sent: Pair, variables: dict[str, str], refused: bool) -> None:
    asked = {"repo": "affordabot", "task": "Run make test", "no_wait": True, "id": "d1", **variables}
    words = ("-i", str(sent.controller.file), "dx.fleet.dispatch", "-e", json.dumps(asked))
    done = run_ansible("ansible-playbook", *words, env=sent.controller.env)
    assert (done.code != 0) is refused, done
    if refused:
        assert "an id belongs to one VM" in done.out + done.err
    assert sent.prompts() == NOTHING
