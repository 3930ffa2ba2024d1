# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines are fit for work: tools, clones, clocks, room, and nothing that earlier work left behind."""

from __future__ import annotations

import os
import re
import signal

from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.plan import plan_of
from testinfra.host import Host

from tests.lab import Lab

from .conftest import Tracking
from .machine import abandoned, clock_skew_s, free_mib, orphans, place_of_remote, processes, worktrees
from .test_opencode import Hosts, variables

OLDEST_GIT = (2, 31)
MOST_SKEW_S = 5.0
LEAST_FREE_MIB = 2048
KEEP_DAYS = 14


def clone_of(host: Host, repo: str) -> str:
    """Where the repo is on a host, links resolved."""
    directory = plan_of({"repo": repo, "id": "x", "command": "x"}, variables(host))["directory"]
    home = host.check_output("echo $HOME")
    named = home + directory[1:] if directory.startswith("~/") else directory
    return host.check_output("cd %s && pwd -P", named)


def worktrees_root(host: Host) -> str:
    """Where the worktrees of dispatches are on a host."""
    named = variables(host).get("dx_worktrees_root")
    home = host.check_output("echo $HOME")
    if named:
        return home + named[1:] if named.startswith("~/") else named
    return host.check_output("echo ${XDG_DATA_HOME:-$HOME/.local/share}") + "/dx-fleet/worktrees"


def test_git_is_there_and_new_enough(hosts: Hosts) -> None:
    for name, host in hosts.items():
        found = re.search(r"(\d+)\.(\d+)", host.check_output("git --version"))
        assert found, name
        assert (int(found[1]), int(found[2])) >= OLDEST_GIT, name


def test_bd_is_where_the_tracker_is_and_of_one_version_everywhere(hosts: Hosts, tracking: Tracking) -> None:
    """Every call of bd runs on the tracker host: the others need none."""
    versions = {
        name: host.check_output("bd version").splitlines()[0]
        for name, host in hosts.items()
        if host.exists("bd")
    }
    here = tracking.version_here()
    if tracking.host is not None:
        assert tracking.host in versions
    else:
        assert here is not None, "the controller is the tracker host, and has no bd"
    assert len({*versions.values(), *([here] if here else [])}) == 1, versions


def test_the_clone_is_there_and_its_remote_is_the_same_on_every_machine(hosts: Hosts, repo: str) -> None:
    remotes = {
        name: place_of_remote(host.check_output("git -C %s remote get-url origin", clone_of(host, repo)))
        for name, host in hosts.items()
    }
    assert len(set(remotes.values())) == 1, remotes


def test_the_remote_answers_every_machine_the_same(hosts: Hosts, repo: str) -> None:
    heads = {
        name: host.check_output(
            "GIT_TERMINAL_PROMPT=0 git -C %s ls-remote origin HEAD", clone_of(host, repo)
        ).split()[0]
        for name, host in hosts.items()
    }
    assert len(set(heads.values())) == 1, heads


def test_the_clocks_agree(hosts: Hosts) -> None:
    skews = {name: clock_skew_s(host) for name, host in hosts.items()}
    assert all(abs(skew) <= MOST_SKEW_S for skew in skews.values()), skews


def test_there_is_room_for_worktrees(hosts: Hosts, repo: str) -> None:
    free = {name: free_mib(host, clone_of(host, repo)) for name, host in hosts.items()}
    assert all(mib >= LEAST_FREE_MIB for mib in free.values()), free


def test_no_process_of_an_agent_is_left_without_its_server(
    hosts: Hosts, repo: str, reapers: tuple[int, ...]
) -> None:
    for name, host in hosts.items():
        left = orphans(processes(host), [clone_of(host, repo), worktrees_root(host)], reapers)
        assert left == [], name


def test_a_process_that_is_left_in_a_clone_would_be_found(
    ssh_lab: Lab, hosts: Hosts, repo: str, reapers: tuple[int, ...]
) -> None:
    host = hosts["epyc6"]
    clone = clone_of(host, repo)
    left = int(host.check_output("cd %s && { setsid sleep 60 </dev/null >/dev/null 2>&1 & echo $!; }", clone))
    try:
        assert [each.pid for each in orphans(processes(host), [clone], reapers)] == [left]
    finally:
        os.kill(left, signal.SIGKILL)


def test_no_worktree_is_abandoned(hosts: Hosts, repo: str) -> None:
    for name, host in hosts.items():
        assert abandoned(worktrees(host, clone_of(host, repo)), keep_days=KEEP_DAYS) == [], name
