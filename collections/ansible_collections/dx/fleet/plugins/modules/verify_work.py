#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: verify_work
short_description: Run a repository's check on the work of an agent, and judge the work by it
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Runs one command in the worktree, ends all that it started, counts the tests that ran, and looks at what the work
    changed. What the agent says of its work is not asked.
  - The work is V(verified) only if the command ended with 0 and at least one test was counted, from a report that
    this run wrote or from the last lines of a known runner.
  - What the run can't tell is V(unverified), with the reason. That is never a success, and never laid at the
    agent's door.
  - A bad verdict is a result, not a failure of the task. The task fails only where there is no worktree to look at.
  - It runs on the host that has the worktree, and needs nothing but Python and C(git) there.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: partial
    details:
      - Nothing is run. What the work changed is returned, without a verdict.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: partial
    details:
      - As far as the command is.
  async:
    description: Supports being used with the C(async) keyword.
    support: full
options:
  path:
    description: The worktree.
    type: path
    required: true
  command:
    description:
      - What decides, for C(/bin/sh). It must come from the user or the endpoints file, never from the worktree.
    type: str
    required: true
  report:
    description:
      - Globs of the JUnit XML files that the command writes, relative to the worktree. C(**) matches any number of
        folders.
      - Old ones are removed before the run, unless they are committed. Without one that the run wrote, nothing is
        verified.
      - Without this option the last lines of the runner are read; of pytest, unittest, C(go test), cargo, nextest,
        jest, vitest, C(node --test), mocha, Maven, Gradle, RSpec, Minitest, ExUnit, PHPUnit, CTest, C(dotnet test),
        Deno, Bun, Swift and whatever speaks TAP.
    type: list
    elements: str
    default: []
  return_reports:
    description: Whether the reports that the run wrote are returned as well, 16 MiB of them at most.
    type: bool
    default: false
  counts:
    description:
      - With V(none), a command that counts no tests verifies the work by its exit code alone. That is the user's
        word for this repository.
    type: str
    choices: [required, none]
    default: required
  timeout:
    description: How long the command may run, in seconds. Then it is ended, with all that it started.
    type: float
    default: 1800.0
  base:
    description:
      - The commit that the work began at, such as RV(dx.fleet.git_worktree#module:head) before the turn.
      - Default is the one that M(dx.fleet.git_worktree) noted when it made the branch.
    type: str
  branch:
    description: The branch that the remote is asked for. Default is the one that is checked out.
    type: str
  expect_changes:
    description: Whether work without any change is V(no_op). The command is not run then.
    type: bool
    default: false
  allow_changed_check:
    description:
      - Whether the work may change the files of the check itself, RV(check_files_changed), and be verified.
    type: bool
    default: false
  dispatch:
    description: The dispatch whose work it is; the file of the output is named for it.
    type: str
  unlock:
    description:
      - After the check the worktree is unlocked, as by M(dx.fleet.git_worktree) with C(locked=false) for O(dispatch).
        RV(unlocked) says whether it could be.
    type: dict
    suboptions:
      repo:
        description: The clone that the worktree is of.
        type: path
        required: true
      branch:
        description: Its branch.
        type: str
        required: true
      worktrees_root:
        description: Where worktrees are, as of M(dx.fleet.git_worktree).
        type: path
  ask_remote:
    description: Whether the remote is asked for what was pushed.
    type: bool
    default: true
  remote_timeout:
    description: How long the remote may take to answer, in seconds. Without an answer RV(pushed) is null.
    type: float
    default: 20.0
  output_limit:
    description:
      - How many MiB of the command's output are kept. Of more, the middle is left out.
    type: int
    default: 8
  tail:
    description: How many characters of its end are returned.
    type: int
    default: 4000
  lock_timeout:
    description: Longest wait for another check of the same worktree, in seconds.
    type: float
    default: 60.0
notes:
  - On Linux it is certain that nothing survives which the command started, however it detached. Elsewhere, and where
    a process of another user was started, RV(processes_proven) is false. What another service runs for it (a
    container, C(systemd-run), C(at)) is not started by the command.
  - C(git) 2.31 or later is needed on the host.
seealso:
  - module: dx.fleet.git_worktree
"""

EXAMPLES = r"""
- name: Check what an agent did
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: Run the tests
      dx.fleet.verify_work:
        path: ~/.local/share/dx-fleet/worktrees/affordabot-5f2c11d0/dx-bd-a1b2-91c4e0aa
        command: make test PYTEST_ADDOPTS=--junitxml=report.xml
        report: report.xml
        timeout: 900
        expect_changes: true
      register: check

    - name: Say what came of it
      ansible.builtin.debug:
        msg: "{{ check.verdict }}: {{ check.message }}"
"""

RETURN = r"""
verdict:
  description: V(verified), V(failed), V(unverified) or V(no_op).
  returned: success, outside of check mode
  type: str
  sample: verified
reason_code:
  description:
    - Why. For V(verified), V(tests_passed) or V(check_passed) (nothing was counted, as O(counts) allows). For V(failed),
      V(tests_failed) or V(check_failed). For V(no_op), V(no_changes).
    - For V(unverified), V(report_missing), V(report_stale), V(report_unreadable), V(no_tests_found),
      V(no_tests_ran) (all were skipped), V(no_counts), V(check_changed), V(head_moved), V(command_not_found),
      V(command_not_executable), V(check_timed_out), V(check_killed), V(check_interrupted) or V(check_not_run).
    - Where the task failed, why that.
  returned: always
  type: str
  sample: tests_passed
message:
  description: The verdict in one line.
  returned: success, outside of check mode
  type: str
  sample: 42 passed, 1 skipped
rc:
  description: Exit code of the command, negative for a signal; null where it was ended or never ran.
  returned: where the command was run
  type: int
  sample: 0
duration_s:
  description: How long the command ran, in seconds.
  returned: where the command was run
  type: float
  sample: 12.8
timed_out:
  description: Whether it was ended because of O(timeout).
  returned: where the command was run
  type: bool
  sample: false
tests:
  description: The tests that were counted; null where none could be.
  returned: where the command was run
  type: dict
  sample:
    source: junit
    passed: 42
    failed: 0
    errors: 0
    skipped: 1
    ran: 42
    total: 43
    failed_names: []
    ids: ["tests.test_total::test_of_nothing"]
    says_none: false
  contains:
    source:
      description: V(junit), or V(output) with the names of the runners whose last lines were read.
      type: str
    passed:
      description: How many passed.
      type: int
    failed:
      description: How many failed.
      type: int
    errors:
      description: How many could not be run to their end.
      type: int
    skipped:
      description: How many were skipped.
      type: int
    ran:
      description: All but the skipped ones.
      type: int
    total:
      description: All of them.
      type: int
    failed_names:
      description: Those that failed or erred, as far as they are named.
      type: list
      elements: str
    ids:
      description: Every test as C(CLASSNAME::NAME), sorted; null where the source does not have them.
      type: list
      elements: str
    says_none:
      description: Whether the runner said itself that it found none.
      type: bool
report:
  description:
    - V(fresh), V(empty), V(missing), V(stale) (an earlier run wrote it) or V(unreadable); null without O(report).
  returned: where the command was run
  type: str
  sample: fresh
reports:
  description: What the reports hold that the run wrote.
  returned: where the command was run, with O(return_reports)
  type: list
  elements: dict
  sample: [{"path": "report.xml", "zlib": "eJwDAAAAAAE="}]
  contains:
    path:
      description: The file, relative to the worktree.
      type: str
    zlib:
      description: What is in it, packed with zlib, in Base64.
      type: str
reports_left_out:
  description: How many of them are not in RV(reports), as they are too large or can't be read.
  returned: where the command was run, with O(return_reports)
  type: int
  sample: 0
path:
  description: The worktree, links resolved.
  returned: success
  type: str
  sample: /home/feng/.local/share/dx-fleet/worktrees/affordabot-5f2c11d0/dx-bd-a1b2-91c4e0aa
branch:
  description: The branch that is checked out; null for a detached HEAD.
  returned: success
  type: str
  sample: dx/bd-a1b2
head_before:
  description: The commit that the work began at; null where it is not known.
  returned: success
  type: str
  sample: 8f14e45fceea167a5a36dedd4bea2543f3d8b1c2
head:
  description: The commit that was checked.
  returned: success
  type: str
  sample: 45c48cce2e2d7fbdea1afc51c7c6ad26d1f8a3b4
head_after:
  description: The commit that was checked out after the check.
  returned: where the command was run
  type: str
  sample: 45c48cce2e2d7fbdea1afc51c7c6ad26d1f8a3b4
commits:
  description: The commits of the work, the newest first, 200 at most.
  returned: success
  type: list
  elements: dict
  sample: [{"commit": "45c48cce2e2d7fbdea1afc51c7c6ad26d1f8a3b4", "subject": "Add total"}]
commit_count:
  description: How many they are.
  returned: success
  type: int
  sample: 3
rewritten:
  description: Whether RV(head) does not contain RV(head_before); null where that is not known.
  returned: success
  type: bool
  sample: false
pushed:
  description: Whether the remote's branch has RV(head), as the remote says; null where it can't be asked.
  returned: success
  type: bool
  sample: true
has_changes:
  description: Whether the work changed any file, in commits or not.
  returned: success
  type: bool
  sample: true
dirty_files:
  description: Tracked files with changes in no commit, 200 at most.
  returned: success
  type: list
  elements: str
  sample: []
untracked_files:
  description: Files that git neither has nor ignores, 200 at most.
  returned: success
  type: list
  elements: str
  sample: []
diffstat:
  description: What the commits changed; null where RV(head_before) is not known.
  returned: success
  type: dict
  sample: {"files": 4, "insertions": 120, "deletions": 8}
tests_changed:
  description: Files of tests that the work added, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [tests/test_total.py]
check_files_changed:
  description:
    - Files of the check itself that the work changed; the scripts that O(command) names, a Makefile, the scripts of
      C(package.json), and what these run.
  returned: success
  type: list
  elements: str
  sample: []
processes_left:
  description: How many processes the command had left running when it ended.
  returned: where the command was run
  type: int
  sample: 0
processes_left_commands:
  description: Some of them.
  returned: where the command was run
  type: list
  elements: str
  sample: []
processes_alive:
  description: How many of them could not be ended.
  returned: where the command was run
  type: int
  sample: 0
processes_proven:
  description: Whether it is certain that no other is left.
  returned: where the command was run
  type: bool
  sample: true
processes_ended_before:
  description: How many an earlier run that was killed had left, and that were ended before this one.
  returned: where the command was run
  type: int
  sample: 0
output_file:
  description: The file on the host that has the command's output.
  returned: where the command was run
  type: str
  sample: /home/feng/.local/state/dx-fleet/checks/bd-a1b2-1-k3v9.log
output_tail:
  description: The end of its output.
  returned: where the command was run
  type: str
  sample: "42 passed, 1 skipped in 12.31s"
unlocked:
  description: Whether the worktree is unlocked now.
  returned: with O(unlock), outside check mode
  type: bool
  sample: true
next_action:
  description: What to do next.
  returned: failure
  type: str
  sample: "name the clone, or make one: git clone URL /home/feng/affordabot"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.git.errors import GitError
from ansible_collections.dx.fleet.plugins.module_utils.specs import VERIFY_WORK
from ansible_collections.dx.fleet.plugins.module_utils.verify.commands import verify


def main() -> None:
    """Run the check, and return what it says of the work."""
    module = AnsibleModule(argument_spec=VERIFY_WORK, supports_check_mode=True)
    try:
        result = verify(module.params, module.check_mode)
    except GitError as error:
        module.fail_json(**error.as_result())
    module.exit_json(failed=False, **result)  # else Ansible takes another `rc` than 0 for a failed task


if __name__ == "__main__":
    main()
