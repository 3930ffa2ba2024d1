# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback in real runs of ansible-playbook, against a Slack on a socket of this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox, outbox_path

from tests.command import Completed, run_ansible
from tests.forks import Fork, Forks
from tests.unit.plugin_utils.audit.slack_server import Handler, SlackServer, ok, raw, serving

TOKEN = "xoxb-" + "1234567890abcdef"
FAILING = {"name": "Break", "ansible.builtin.fail": {"msg": "it said password hunter22"}}
SECRET = {**FAILING, "name": "Break in secret", "no_log": True}
IGNORED = {**FAILING, "name": "Break and go on", "ignore_errors": True}
FINE = {"name": "Be fine", "ansible.builtin.debug": {"msg": "hello"}}


class Play:
    """A controller with a fleet of one VM, and a way to run playbooks on it."""

    def __init__(self, directory: Path, server: SlackServer) -> None:
        self.directory = directory
        self.server = server
        fleet = {
            "vms": {"epyc6": {"opencode": "http://127.0.0.1:1", "local": True}},
            "slack_audit_channel": "C09MQGMFKDE",
        }
        (directory / "vm-endpoints.json").write_text(json.dumps(fleet))
        self.env = {
            "HOME": str(directory),
            "XDG_STATE_HOME": str(directory / "state"),
            "ANSIBLE_CALLBACKS_ENABLED": "dx.fleet.slack_audit",
            "ANSIBLE_INVENTORY_ENABLED": "dx.fleet.vm_endpoints",
            "SLACK_BOT_TOKEN": TOKEN,
            "DX_SLACK_API_URL": server.url,
            "DX_SLACK_FLUSH_TIMEOUT": "60",  # so that what is delivered can be asserted
            "NO_PROXY": "*",
        }

    def run(
        self, *plays: Sequence[dict[str, Any]], extra: Sequence[str] = (), **env: str | None
    ) -> Completed:
        names = []
        for number, tasks in enumerate(plays):
            play = {"hosts": "all", "gather_facts": False, "tasks": list(tasks)}
            path = self.directory / f"play{number}.yml"
            path.write_text(json.dumps([play]))
            names.append(str(path))
        given = {name: value for name, value in (self.env | env).items() if value is not None}
        inventory = str(self.directory / "vm-endpoints.json")
        return run_ansible("ansible-playbook", "-i", inventory, *names, *extra, env=given, cwd=self.directory)

    def outbox(self) -> Outbox:
        return Outbox(outbox_path(self.env))

    def replies(self) -> list[str]:
        """The lines that were posted below a head; those that come at a time are one message."""
        posted = [one.body for one in self.server.requests if one.method == "chat.postMessage"]
        return [line for body in posted if body.get("thread_ts") for line in body["text"].splitlines()]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    with serving() as server:
        yield Play(tmp_path, server)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """What came of a run with a task of each kind, the last of which ended it."""
    with serving() as server:
        play = Play(tmp_path_factory.mktemp("told"), server)
        rescued = {"block": [SECRET], "rescue": [FINE]}
        assert play.run([IGNORED, rescued, FAILING], extra=["-e", "id=bd-xyz@1"]).code == 2
        yield play


def test_a_failed_task_is_told_in_the_inventorys_channel_without_its_words(told: Play) -> None:
    assert told.replies()[-1] == "[epyc6] Task failed: Break (ansible.builtin.fail)"
    assert {request.body["channel"] for request in told.server.requests} == {"C09MQGMFKDE", "C1"}
    assert {request.token for request in told.server.requests} == {TOKEN}
    assert "hunter22" not in str(told.server.requests)
    assert told.outbox().counts().as_dict() == {"delivered": 2, "pending": 0, "held": 0}


def test_of_a_task_with_no_log_not_even_more_is_told(told: Play) -> None:
    assert told.replies()[-2] == "[epyc6] Task failed: Break in secret (ansible.builtin.fail)"
    assert "hunter22" not in str(told.server.requests)


def test_an_ignored_failure_and_a_fine_task_are_not_told(told: Play) -> None:
    words = str(told.server.requests)
    assert "Break in secret" in words
    assert [name for name in (IGNORED["name"], FINE["name"]) if str(name) in words] == []


def test_a_dispatch_is_told_in_its_own_thread(told: Play) -> None:
    assert {record.event.subject.dispatch for record in told.outbox().trail()} == {"bd-xyz@1"}


def test_several_playbooks_of_one_run_are_told(play: Play) -> None:
    rescued = {"block": [FAILING], "rescue": [FINE]}
    play.run([rescued, FINE], [{**FAILING, "name": "Break again"}])
    assert play.outbox().counts().delivered == 2


def test_in_check_mode_nothing_is_told(play: Play) -> None:
    play.run([FAILING], extra=["--check"])
    assert play.server.requests == []


def test_without_a_set_up_it_is_off_with_one_warning(play: Play) -> None:
    """Why it can be off is in :mod:`tests.unit.plugin_utils.audit.store.test_recorder`."""
    done = play.run([FINE], [FINE], SLACK_BOT_TOKEN=None)
    assert done.code == 0
    told = " ".join((done.out + done.err).split())
    assert told.count("dispatches are not posted to Slack") == 1
    assert "SLACK_BOT_TOKEN is not set" in told
    assert play.server.requests == []


@pytest.mark.parametrize(("module", "package"), [("slack_sdk", "slack-sdk"), ("aiohttp", "aiohttp")])
def test_without_a_library_it_is_off_with_one_warning(
    play: Play, tmp_path: Path, module: str, package: str
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import sys\nsys.modules['{module}'] = None\n")
    done = play.run([FINE], PYTHONPATH=str(site))
    assert done.code == 0
    assert f"{package} is missing" in " ".join((done.out + done.err).split())


def hanging(handler: Handler) -> None:
    handler.slack.released.wait(300)
    handler.reset()


def test_a_run_ends_though_slack_hangs_and_what_is_left_is_named_and_delivered_later(play: Play) -> None:
    play.server.answer(*[hanging] * 4)
    done = play.run([FAILING], DX_SLACK_FLUSH_TIMEOUT=None)
    assert done.code == 2  # and not the harness' time-out
    assert not play.server.released.is_set()
    assert play.outbox().counts().pending == 1
    assert "1 of this run's facts are not there yet" in done.err
    play.server.released.set()
    play.server.answers.clear()
    play.run([{**FAILING, "name": "Break again"}])
    assert play.outbox().counts().pending == 0


def test_where_the_deliverer_ends_with_the_run_the_run_waits_as_long_as_it_is_told_to(play: Play) -> None:
    play.server.answer(*[raw(503, "")] * 2)
    assert play.run([FAILING]).code == 2
    assert play.outbox().counts().as_dict() == {"delivered": 1, "pending": 0, "held": 0}


def forks_of(play: Play, folder: Path, **environ: str | None) -> list[Fork]:
    forks = Forks(folder)
    rescued = {"block": [FAILING], "rescue": [FINE]}
    play.run([rescued, rescued, FINE, FINE], **forks.environ, **environ)
    return forks.of_the_first()


@pytest.mark.skipif(sys.platform != "linux", reason="the threads of the kernel are counted in /proc")
def test_no_thread_is_added_at_any_fork(play: Play, tmp_path: Path) -> None:
    """Ansible's own are there without us."""
    without = forks_of(play, tmp_path / "without", SLACK_AUDIT="false")
    assert not play.server.requests
    found = forks_of(play, tmp_path / "with")
    assert play.server.requests
    assert len(found) >= 5
    of_ansible = {name for fork in without for name in fork.names}
    for fork in found:
        assert set(fork.names) <= of_ansible
        assert fork.in_kernel == len(fork.names) <= max(one.in_kernel for one in without)


def test_what_somebody_must_mend_is_said(play: Play) -> None:
    play.server.answer(*[raw(200, {"ok": False, "error": "not_in_channel"})] * 20)
    done = play.run([FAILING])
    assert done.code == 2
    assert "/invite" in " ".join((done.out + done.err).split())
    assert play.outbox().counts().held == 1
    again = play.run([{**FAILING, "name": "Break again"}])
    told = " ".join((again.out + again.err).split())
    assert "/invite" not in told, "a person was warned once"
    assert "1 of this run's facts are not there yet (not_in_channel)" in told


def test_a_channel_that_never_worked_is_no_matter_of_a_later_run(play: Play) -> None:
    def choosy(handler: Handler) -> None:
        is_wrong = play.server.requests[-1].body["channel"] == "C0WRONG"
        (raw(200, {"ok": False, "error": "channel_not_found"}) if is_wrong else ok())(handler)

    play.server.usual = choosy
    play.run([FAILING], SLACK_AUDIT_CHANNEL="C0WRONG")
    done = play.run([{**FAILING, "name": "Break again"}])
    assert "Slack" not in done.out + done.err
    assert play.outbox().counts().as_dict() == {"delivered": 1, "pending": 0, "held": 1}


def test_a_broken_outbox_is_said_and_the_run_goes_on(play: Play) -> None:
    path = outbox_path(play.env)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"broken " * 1000)
    done = play.run([{**FAILING, "ignore_errors": False}, FINE])
    assert done.code == 2
    assert "is no outbox, or a broken one" in " ".join((done.out + done.err).split())


def test_it_is_documented(tmp_path: Path) -> None:
    done = run_ansible(
        "ansible-doc", "-t", "callback", "--json", "dx.fleet.slack_audit", env={"HOME": str(tmp_path)}
    )
    assert done.code == 0, done.err
    options = json.loads(done.out)["dx.fleet.slack_audit"]["doc"]["options"]
    assert set(options) == {
        "token",
        "channel",
        "enabled",
        "api_url",
        "flush_timeout",
        "mention",
        "buttons",
    }
    assert "ini" not in options["token"], "a token has no place in ansible.cfg"
