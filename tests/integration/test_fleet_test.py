# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests of a repo on every VM at one commit: on real clones, by SSH, with real runs of pytest."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.processes import working_in

from tests.command import Running, command_of
from tests.lab import Lab
from tests.lab.sample_repos import git_environment
from tests.lab.slack import SlackWorkspace
from tests.lab.tracker import Tracker
from tests.wait import wait_for

from .clone import Clone, git
from .fleet import Fleet
from .test_schema import VALIDATOR
from .test_slack_flow import lines

# Without the plugins of these tests, which cost it a second, and which no VM has.
PYTEST = (
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python3 -m pytest -q -p no:cacheprovider -c /dev/null --rootdir ."
    " --junitxml=report.xml tests"
)

TESTS = """\
import os
from pathlib import Path

import pytest

VM = os.environ["DX_LAB_VM"]
RUNS = Path(os.environ["HOME"], "runs-of-{name}")


def test_same():
    assert True


def test_fails_on_macmini():
    print("told on", VM)
    assert VM != "macmini"


@pytest.mark.parametrize("vm", [VM if VM == "epyc6" else "all"])
def test_has_another_name_on_epyc6(vm):
    assert True


@pytest.mark.skipif(VM == "homedesktop", reason="not here")
def test_skipped_on_homedesktop():
    assert True


def test_is_flaky_on_epyc6():
    before = int(RUNS.read_text()) if RUNS.exists() else 0
    RUNS.write_text(str(before + 1))
    assert VM != "epyc6" or before != 1
"""


class Repo:
    """The remote of affordabot, to which a person pushes commits of their own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._clone = folder / "clone"
        self._env = git_environment(folder) | {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.invalid",
        }
        self._env |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.invalid"}
        self._git(folder, "clone", "-q", str(lab.root / "remotes" / "affordabot.git"), str(self._clone))

    def push(self, branch: str, files: Mapping[str, str]) -> str:
        """The id of a new commit with these files, on a new branch of the remote."""
        self._git(self._clone, "checkout", "-q", "-b", branch, "origin/main")
        for name, content in files.items():
            (self._clone / name).write_text(content)
        self._git(self._clone, "add", "--all")
        self._git(self._clone, "commit", "-q", "-m", branch)
        self._git(self._clone, "push", "-q", "origin", branch)
        return self._git(self._clone, "rev-parse", "HEAD").strip()

    def _git(self, folder: Path, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, env=self._env, check=True, capture_output=True, text=True
        )
        return done.stdout


@pytest.fixture
def repo(ssh_lab: Lab, tmp_path: Path) -> Repo:
    return Repo(ssh_lab, tmp_path)


@pytest.fixture
def person(ssh_lab: Lab, fleet: Fleet, tmp_path: Path) -> Fleet:
    """A person whose own machine is the VM homedesktop, with its home and its programs."""
    home = ssh_lab.vms["homedesktop"].home
    own = {
        "HOME": str(home),
        "DX_LAB_VM": "homedesktop",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "PATH": f"{ssh_lab.root / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    return replace(fleet, env={**fleet.env, **own})


def worktrees(lab: Lab) -> dict[str, int]:
    """How many worktrees each VM's clone has, the clone itself included."""
    found = {}
    for name, vm in lab.vms.items():
        listed = subprocess.run(
            ["git", "worktree", "list"], cwd=vm.repo("affordabot"), capture_output=True, text=True, check=True
        )
        found[name] = len(listed.stdout.splitlines())
    return found


def test_what_differs_between_vms_is_named_and_what_is_flaky(
    ssh_lab: Lab, person: Fleet, repo: Repo, slack: SlackWorkspace, tmp_path: Path
) -> None:
    sha = repo.push("tests-differ", {"tests/test_vms.py": TESTS.format(name="differ")})
    out, before = tmp_path / "out", worktrees(ssh_lab)
    slack_env = ssh_lab.env_with(slack)
    told = {name: value for name, value in slack_env.items() if name.startswith(("SLACK_", "DX_SLACK"))}
    asked = replace(person, env={**{k: v for k, v in person.env.items() if k != "SLACK_AUDIT"}, **told})
    words = ("affordabot", "--ref", sha, "--command", PYTEST, "--report", "report.xml", "--repeat", "3")
    done = asked.look("test", *words, "--output", str(out))
    document = done.document()
    assert (done.code, document["exit_code"]) == (3, 3), done
    VALIDATOR.validate(document)
    found = document["fleet_test"]
    assert found["commit"] == sha
    assert {vm["vm"]: vm["state"] for vm in found["vms"]} == {
        "homedesktop": "passed",
        "macmini": "failed",
        "epyc6": "failed",
    }
    by_id = {each["id"].rpartition("::")[2]: each["vms"] for each in found["differences"]}
    assert by_id == {
        "test_fails_on_macmini": {"homedesktop": "passed", "macmini": "failed", "epyc6": "passed"},
        "test_has_another_name_on_epyc6[epyc6]": {
            "homedesktop": "missing",
            "macmini": "missing",
            "epyc6": "passed",
        },
        "test_has_another_name_on_epyc6[all]": {
            "homedesktop": "passed",
            "macmini": "passed",
            "epyc6": "missing",
        },
        "test_skipped_on_homedesktop": {"homedesktop": "skipped", "macmini": "passed", "epyc6": "passed"},
        "test_is_flaky_on_epyc6": {"homedesktop": "passed", "macmini": "passed", "epyc6": "flaky"},
    }
    ((flaky),) = found["flaky"]
    assert (flaky["vm"], flaky["failed"], flaky["runs"]) == ("epyc6", 1, 3)
    assert any(
        "told on macmini" in each["message"] or "macmini" in each["message"] for each in found["failing"]
    )
    suites = ET.parse(out / "junit.xml").getroot()
    assert {suite.get("hostname") for suite in suites} == {"homedesktop", "macmini", "epyc6"}
    assert "Tests that differ between VMs" in (out / "report.html").read_text()
    assert json.loads((out / "result.json").read_text())["state"] == "failed"
    assert worktrees(ssh_lab) == before
    assert asked.look("audit", "flush").code == 0
    threads = [each for each in slack.threads() if sha[:12] in (each.root.text or "")]
    assert len(threads) == 1
    assert "test_fails_on_macmini" in lines(threads[0])[-1]


def test_a_vm_that_can_t_run_them_is_an_error_of_its_own_and_no_success(
    ssh_lab: Lab, person: Fleet, repo: Repo, tmp_path: Path
) -> None:
    sha = repo.push("tests-good", {"README.md": "good\n"})
    asked = person.described_as(
        tmp_path, macmini={"ssh": "127.0.0.1:1"}, epyc6={"repos": {"affordabot": "~/nowhere"}}
    )
    done = asked.look("test", "affordabot", "--ref", sha, "--command", "make test")
    found = done.document()["fleet_test"]
    assert done.code == 10, done
    assert {vm["vm"]: vm["state"] for vm in found["vms"]} == {
        "homedesktop": "passed",
        "macmini": "unknown",
        "epyc6": "unknown",
    }
    troubles = {vm["vm"]: vm["trouble"] for vm in found["vms"]}
    assert troubles["homedesktop"] is None
    assert troubles["macmini"]["reason_code"] == "unreachable"
    assert "~/nowhere" in troubles["epyc6"]["message"] or "nowhere" in troubles["epyc6"]["message"]
    (run,) = found["vms"][0]["runs"]
    assert run["counts"]["passed"] == 3


def test_a_person_sees_progress_and_the_matrix_and_where_the_reports_are(
    ssh_lab: Lab, person: Fleet, repo: Repo
) -> None:
    sha = repo.push("tests-seen", {"README.md": "seen\n"})
    done = person.look_plainly("test", "affordabot", "--ref", sha, "--command", "make test", "--vm", "epyc6")
    assert done.code == 0, done
    assert "[epyc6] Run the tests" in done.out
    assert "[epyc6] Run 1: verified, 3 passed" in done.out
    assert f"affordabot at {sha[:12]}: make test" in done.out
    assert "epyc6: passed: 3 passed" in done.out
    page = next(line.partition(": ")[2] for line in done.out.splitlines() if line.startswith("html: "))
    assert Path(page).read_text().startswith("<!doctype html>")


def test_what_an_interrupted_run_leaves_is_named_and_goes_with_the_next_reap(
    ssh_lab: Lab, person: Fleet, repo: Repo, tracker: Tracker, tmp_path: Path
) -> None:
    sha = repo.push("tests-interrupted", {"README.md": "interrupted\n"})
    running, gate = tmp_path / "running", tmp_path / "gate"
    command = f"touch {running}; until [ -e {gate} ]; do sleep 0.1; done"
    person = replace(person, env={**person.env, **tracker.env})
    words = ("test", "affordabot", "--ref", sha, "--command", command, "--vm", "epyc6")
    test = Running([*command_of("dx-fleet"), *words], person.env, Path("/"), None)
    wait_for(running.exists)
    test.interrupt()
    ended = test.finish()
    assert ended.code == 130, ended
    (line,) = [line for line in ended.out.splitlines() if line.startswith("interrupted: ")]
    branch = next(word for word in line.split() if word.startswith("dx-fleet-test/"))
    assert "left on epyc6" in line
    assert "Next: dx-fleet reap" in line
    clone = Clone(ssh_lab.vms["epyc6"])
    assert branch in clone.worktrees()

    def reaped(*more: str) -> dict[str, Any]:
        document = person.look("reap", *more).document()
        return next(each for each in document["worktrees"] if each["branch"] == branch)

    assert "works in it" in reaped("--ttl", "0.001s")["found"], "the tests still run"
    gate.touch()
    path = Path(clone.worktrees()[branch]["worktree"])
    wait_for(lambda: not working_in(str(path)))
    assert "stays for 1 hour" in reaped()["found"]
    assert reaped("--ttl", "0.001s")["became"] == "ended"
    assert branch not in clone.worktrees()
    assert git(clone.path, "branch", "--list", branch) == ""
