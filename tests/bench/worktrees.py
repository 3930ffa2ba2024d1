# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worktree and our own check add to a dispatch on a VM behind SSH, without the check's own time.

A server of OpenCode 1.18 takes most of a second for its first task in any directory, whoever made that. So the
dispatch that is compared works in a directory that is new to the server as well.
"""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from .figure import BIN, Figure, Setting
from .processes import Run, median, paired, run

__all__ = ["worktrees"]

VM = "epyc6"
PROMPT = "Say hello"
CHECK = "echo 1 passed in 0.01s"
WARM = {"ansible.builtin.wait_for_connection": {}}
"""Opens the connection in each play, which is then warm."""
PING = {"ansible.builtin.ping": {}}
"""A module that does nothing: what Ansible itself takes on this machine, at its load."""


def worktrees(setting: Setting) -> list[Figure]:
    """Time and SSH sessions of the worktree, the check and the worktree's release; nothing to measure where the
    lab has no sshd."""
    if not setting.lab.has_ssh:
        return []
    log = setting.lab.ssh_files.folder / VM / "sshd.log"
    with tempfile.TemporaryDirectory() as folder:
        bare = _playbook(Path(folder, "bare.yml"), [WARM])
        pings = _playbook(Path(folder, "pings.yml"), [WARM, PING, PING])
        known, fresh, isolated, without, with_pings = paired(
            setting.rounds,
            lambda: setting.dispatch(VM, "affordabot", PROMPT),
            lambda: _in_a_fresh_directory(setting),
            lambda: _isolated(setting),
            lambda: _play(setting, bare),
            lambda: _play(setting, pings),
        )
    before = _sessions(log)
    _isolated(setting)
    added = _sessions(log) - before
    wall = {
        name: median(runs, "wall_s")
        for name, runs in {"all": isolated, "fresh": fresh, "known": known}.items()
    }
    of_pings = median(with_pings, "wall_s") - median(without, "wall_s")
    return [
        Figure(
            "worktree and check, added to a dispatch",
            wall["all"] - wall["fresh"],
            1.5,
            "s",
            f"medians {wall['all']:.2f} s / {wall['fresh']:.2f} s in a directory new to the server"
            f" ({wall['known']:.2f} s in one that it knows), on a warm connection; two modules that do nothing add"
            f" {of_pings:.2f} s to a play",
        ),
        Figure("worktree and check, SSH sessions", added, 4, "", "of sshd's own log, two each at most"),
    ]


def _in_a_fresh_directory(setting: Setting) -> Run:
    """A dispatch in a worktree that is made before, and not by us."""
    directory = setting.lab.vms[VM].home / f"fresh-{secrets.token_hex(4)}"
    clone = setting.lab.vms[VM].repo("affordabot")
    subprocess.run(["git", "-C", clone, "worktree", "add", "-q", "--detach", directory], check=True)
    return setting.dispatch(VM, str(directory), PROMPT)


def _isolated(setting: Setting) -> Run:
    """A dispatch on a branch of its own, with a check that takes no time."""
    branch = f"bench/{secrets.token_hex(4)}"
    return setting.dispatch(VM, "affordabot", PROMPT, "--branch", branch, "--verify", CHECK)


def _playbook(path: Path, tasks: list[dict[str, Any]]) -> Path:
    path.write_text(yaml.safe_dump([{"hosts": VM, "gather_facts": False, "tasks": tasks}]))
    return path


def _play(setting: Setting, playbook: Path) -> Run:
    words = [str(BIN / "ansible-playbook"), "-i", str(setting.lab.inventory), str(playbook)]
    return run(words, setting.environment)


def _sessions(log: Path) -> int:
    return log.read_text().count("Starting session")
