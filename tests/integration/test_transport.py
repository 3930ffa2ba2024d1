# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dispatches to a VM whose server's port is not reachable from here: through Ansible's SSH connection to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy
from tests.lab.slack import SlackWorkspace
from tests.lab.ssh_server import new_key

from .fleet import Fleet
from .test_slack_flow import lines, thread_key


@pytest.fixture
def hidden(ssh_lab: Lab, proxy: FaultProxy) -> str:
    """A URL of epyc6's server that means nothing here; on the VM's own loopback the port is there."""
    return f"http://epyc6.invalid:{urlsplit(proxy.url).port}"


@pytest.fixture
def runtime(ssh_lab: Lab) -> Iterator[Path]:
    """The folder of the sockets, in which nothing of a forward is left at the end."""
    folder = Path(ssh_lab.env["XDG_RUNTIME_DIR"], "dx")
    yield folder
    assert list(folder.glob("*.sock")) == []


def test_a_port_that_is_not_reachable_from_here_is_reached_through_ssh(
    fleet: Fleet, hidden: str, runtime: Path, tmp_path: Path
) -> None:
    done = fleet.described_as(tmp_path, epyc6={"opencode": hidden}).dispatch(
        "epyc6", "affordabot", "@say through SSH"
    )
    result = done.result()
    assert (done.code, result["evidence"]["text"]) == (0, "through SSH"), done
    assert result["evidence"]["transport"] == "ssh"
    assert fleet["epyc6"].has(result["session"])


def test_a_port_that_is_reachable_is_used_directly(ssh_lab: Lab, fleet: Fleet) -> None:
    done = fleet.dispatch("epyc6", "affordabot", "@say directly")
    assert (done.code, done.result()["evidence"]["transport"]) == (0, "http"), done


def test_plain_http_is_the_only_way_where_it_is_asked_for(fleet: Fleet, hidden: str, tmp_path: Path) -> None:
    asked = fleet.described_as(tmp_path, epyc6={"opencode": hidden, "transport": "http"})
    result = asked.dispatch("epyc6", "affordabot", "@say never")
    assert (result.code, result.result()["reason_code"]) == (5, "dns_failure"), result


def test_ssh_is_the_way_where_it_is_asked_for_and_the_audit_says_so(
    ssh_lab: Lab, fleet: Fleet, slack: SlackWorkspace, runtime: Path, tmp_path: Path
) -> None:
    asked = fleet.described_as(tmp_path, epyc6={"transport": "ssh"})
    env = ssh_lab.env_with(slack) | {"DX_VM_ENDPOINTS": str(asked.inventory), "XDG_STATE_HOME": str(tmp_path)}
    person = replace(asked, env=env)
    done = person.dispatch("epyc6", "affordabot", "@say by SSH")
    assert (done.code, done.result()["evidence"]["transport"]) == (0, "ssh"), done
    assert person.look("audit", "flush").code == 0
    (thread,) = (each for each in slack.threads() if thread_key(each) == done.result()["dispatch"])
    assert "through SSH" in lines(thread)[-1], lines(thread)


def test_ctrl_c_leaves_no_socket_and_the_work_goes_on(
    ssh_lab: Lab, fleet: Fleet, runtime: Path, idle_afterwards: None, tmp_path: Path
) -> None:
    asked = fleet.described_as(tmp_path, epyc6={"transport": "ssh"})
    running = asked.start("epyc6", "affordabot", "@bash sleep 300")
    running.wait_for("[epyc6] bash: ")
    assert len(list(runtime.glob("*.sock"))) == 1
    running.interrupt()
    assert running.finish().code == 130
    asked.kill_started()


@pytest.mark.parametrize(
    ("known", "reason", "said"),
    [
        ("another key", "ssh_host_key_changed", "is not the one that known_hosts has"),
        ("none", "ssh_host_key_unknown", "is not known here"),
    ],
)
def test_a_host_key_that_is_not_the_known_one_is_final_and_nothing_is_sent(
    ssh_lab: Lab, fleet: Fleet, model: ScriptedModel, tmp_path: Path, known: str, reason: str, said: str
) -> None:
    host, _, port = str(ssh_lab.vms["epyc6"].ssh).partition("@")[2].partition(":")
    new_key(tmp_path / "key")
    hosts = tmp_path / "known_hosts"
    hosts.write_text(f"[{host}]:{port} {(tmp_path / 'key.pub').read_text()}" if known != "none" else "")
    asked = fleet.described_as(tmp_path, epyc6={"transport": "ssh"})
    own = {
        "ANSIBLE_SSH_COMMON_ARGS": f"-o UserKnownHostsFile={hosts} -F {ssh_lab.ssh_files.config}",
        "XDG_RUNTIME_DIR": str(ssh_lab.root / "other"),  # no connection is open there
    }
    (ssh_lab.root / "other").mkdir(exist_ok=True)
    done = replace(asked, env={**asked.env, **own}).dispatch("epyc6", "affordabot", "@say never")
    result = done.result()
    assert (done.code, result["state"], result["reason_code"]) == (4, "refused", reason), done
    assert said in result["message_to_human"]
    assert f"-p {port}" in result["next_action"]
    assert not model.calls()
