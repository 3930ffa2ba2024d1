# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worktree and our own check add to a dispatch on a VM behind SSH, without the check's own time."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import Any

import yaml

from .figure import BIN, Figure, Setting
from .processes import Run, median, paired, run

__all__ = ["worktrees"]

VM = "epyc6"
WARM = {"ansible.builtin.wait_for_connection": {}}
"""Opens the connection in each play, which is then warm."""
PING = {"ansible.builtin.ping": {}}
"""A module that does nothing: what Ansible itself takes on this machine, at its load."""


def worktrees(setting: Setting) -> list[Figure]:
    """Time and SSH sessions of both modules; nothing to measure where the lab has no sshd."""
    if not setting.lab.has_ssh:
        return []
    repo = str(setting.lab.vms[VM].repo("affordabot"))
    log = setting.lab.ssh_files.folder / VM / "sshd.log"
    branch = f"dx/bench-{secrets.token_hex(4)}"
    path = f"bench-{secrets.token_hex(4)}"
    make = {"dx.fleet.git_worktree": {"repo": repo, "branch": branch, "path": path}, "register": "made"}
    check = {"dx.fleet.verify_work": {"path": "{{ made.path }}", "command": "echo 1 passed in 0.01s"}}
    remove = {"dx.fleet.git_worktree": {"repo": repo, "branch": branch, "path": path, "state": "absent"}}
    with tempfile.TemporaryDirectory() as folder:
        bare = _playbook(Path(folder, "bare.yml"), [WARM])
        pings = _playbook(Path(folder, "pings.yml"), [WARM, PING, PING])
        both = _playbook(Path(folder, "both.yml"), [WARM, make, check])
        clean = _playbook(Path(folder, "clean.yml"), [remove])
        without, with_pings, with_both, _ = paired(
            setting.rounds,
            lambda: _play(setting, bare),
            lambda: _play(setting, pings),
            lambda: _play(setting, both),
            lambda: _play(setting, clean),
        )
        before = _sessions(log)
        _play(setting, bare)
        between = _sessions(log)
        _play(setting, both)
        added = (_sessions(log) - between) - (between - before)
        _play(setting, clean)
    seconds = median(with_both, "wall_s") - median(without, "wall_s")
    of_pings = median(with_pings, "wall_s") - median(without, "wall_s")
    return [
        Figure(
            "worktree and check, added",
            seconds,
            1.5,
            "s",
            f"medians of two plays on a warm connection; two modules that do nothing add {of_pings:.2f} s",
        ),
        Figure("worktree and check, SSH sessions", added, 4, "", "of sshd's own log, two each at most"),
    ]


def _playbook(path: Path, tasks: list[dict[str, Any]]) -> Path:
    path.write_text(yaml.safe_dump([{"hosts": VM, "gather_facts": False, "tasks": tasks}]))
    return path


def _play(setting: Setting, playbook: Path) -> Run:
    words = [str(BIN / "ansible-playbook"), "-i", str(setting.lab.inventory), str(playbook)]
    return run(words, setting.environment)


def _sessions(log: Path) -> int:
    return log.read_text().count("Starting session")
