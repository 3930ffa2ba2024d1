# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`git_worktree` and `verify_work` by Ansible itself, on the local VM and on one that is reached by SSH."""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import Completed
from tests.lab import Lab

from .fleet import Fleet

Task = dict[str, Any]


def task(module: str, **options: Any) -> Task:
    """A task of a play."""
    return {f"dx.fleet.{module}": options}


class Play:
    """Plays on one VM."""

    def __init__(self, lab: Lab, fleet: Fleet, vm: str, folder: Path) -> None:
        self.vm = lab.vms[vm]
        self.repo = self.vm.repo("affordabot")
        self.home = Path(self.vm.home if self.vm.ssh else fleet.env["HOME"])
        self.branch = f"dx/test-{secrets.token_hex(4)}"
        self._lab, self._fleet, self._folder = lab, fleet, folder

    def worktree(self, **options: Any) -> Task:
        """`git_worktree` of this play's branch."""
        repo = str(self.repo)
        return task("git_worktree", repo=repo, branch=self.branch, **{"dispatch": "d1", **options})

    def check(self, path: str, command: str = "make test", **options: Any) -> Task:
        """`verify_work` there."""
        return task("verify_work", path=path, command=command, **options)

    def tasks(self, tasks: list[Task], *arguments: str) -> list[dict[str, Any]]:
        """The results of the tasks of one play; one that fails ends nothing."""
        names = [f"result_{number}" for number in range(len(tasks))]
        results = "{{ [" + ", ".join(names) + "] | to_json | b64encode }}"
        play = {
            "hosts": self.vm.name,
            "gather_facts": False,
            "tasks": [
                *(
                    {**each, "register": name, "ignore_errors": True}
                    for name, each in zip(names, tasks, strict=True)
                ),
                {"ansible.builtin.debug": {"msg": f"results:{results}"}},
            ],
        }
        playbook = self._folder / "play.yml"
        playbook.write_text(yaml.safe_dump([play]))
        self.last: Completed = self._fleet.playbook(str(playbook), *arguments)
        assert self.last.code == 0, self.last
        (encoded,) = re.findall(r"results:([\w+/=]+)", self.last.out)
        found: list[dict[str, Any]] = json.loads(base64.b64decode(encoded))
        return found

    def ssh_sessions(self) -> int:
        """How many SSH sessions the VM has had."""
        log = self._lab.ssh_files.folder / self.vm.name / "sshd.log"
        return log.read_text().count("Starting session")

    def git(self, *words: str, at: str | Path | None = None) -> str:
        """git as the VM's user."""
        done = subprocess.run(
            ["git", *words], cwd=at or self.repo, env={"HOME": str(self.vm.home), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()


@pytest.fixture(params=["homedesktop", "epyc6"])
def play(request: pytest.FixtureRequest, ssh_lab: Lab, fleet: Fleet, tmp_path: Path) -> Play:
    """On the local VM, and on one behind SSH."""
    return Play(ssh_lab, fleet, request.param, tmp_path)


def test_from_the_worktree_to_the_push(play: Play) -> None:
    made, again = play.tasks([play.worktree(), play.worktree()])
    assert (made["changed"], made["branch"]) == (True, play.branch)
    assert Path(made["path"]).is_relative_to(play.home), "in the data folder of whom the connection leads to"
    assert not again["changed"]
    package = Path(made["path"], "affordabot", "__init__.py")
    package.write_text(package.read_text() + "\n\nANSWER = 42\n")
    play.git("commit", "--quiet", "--all", "--message", "Add the answer", at=made["path"])
    check, pushed, gone = play.tasks(
        [
            play.check(made["path"], expect_changes=True),
            task("git_worktree", repo=str(play.repo), path=made["path"], state="pushed"),
            play.worktree(state="absent"),
        ]
    )
    assert (check["verdict"], check["tests"]["passed"], check["commit_count"]) == ("verified", 3, 1), check
    assert (check["pushed"], check["processes_proven"], check["processes_left"]) == (False, True, 0)
    assert Path(check["output_file"]).is_relative_to(play.home)
    assert (pushed["pushed"], pushed["head"]) == (True, check["head"])
    assert play.git("ls-remote", "origin", play.branch).startswith(check["head"])
    assert (gone["changed"], gone["rescue_refs"]) == (True, [])
    assert made["path"] not in play.git("worktree", "list")


def test_a_failed_check_is_a_result_and_a_refusal_is_a_failure(play: Play) -> None:
    (made,) = play.tasks([play.worktree()])
    Path(made["path"], "BREAK").touch()
    failed, refused, gone = play.tasks(
        [play.check(made["path"]), play.worktree(dispatch="d2"), play.worktree(state="absent")]
    )
    assert (failed["verdict"], failed["reason_code"], failed["failed"]) == ("failed", "tests_failed", False)
    assert "test_that_can_be_broken" in failed["message"]
    assert (refused["failed"], refused["reason_code"]) == (True, "worktree_locked")
    assert refused["next_action"] in refused["msg"]
    assert play.git("ls-tree", "--name-only", gone["rescue_refs"][0], "BREAK") == "BREAK"


def test_check_mode_and_diff(play: Play) -> None:
    (told,) = play.tasks([play.worktree()], "--check", "--diff")
    assert told["changed"]
    assert f"+branch: {play.branch}" in play.last.out.replace('"', "").replace("    ", "")
    assert not Path(told["path"]).exists()
    made, again, looked, gone = play.tasks(
        [
            play.worktree(),
            {**play.worktree(), "check_mode": True},
            {**play.check(told["path"], command="touch ran"), "check_mode": True},
            play.worktree(state="absent"),
        ]
    )
    assert (made["path"], again["changed"]) == (told["path"], False)
    assert (looked["has_changes"], looked["changed"]) == (False, False)
    assert gone["rescue_refs"] == [], "nothing ran that left a file"


def test_each_module_costs_one_ssh_session(ssh_lab: Lab, fleet: Fleet, tmp_path: Path) -> None:
    play = Play(ssh_lab, fleet, "epyc6", tmp_path)
    play.tasks([play.worktree(state="absent")])
    before = play.ssh_sessions()
    made, check, gone = play.tasks(
        [play.worktree(), play.check("{{ result_0.path }}"), play.worktree(state="absent")]
    )
    assert (made["changed"], check["verdict"], gone["changed"]) == (True, "verified", True)
    assert play.ssh_sessions() - before == 3
