# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet test``: run a repo's tests on every VM at one commit, and compare them."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ...domain.errors import FleetError, UsageError
from ...domain.fleet import Fleet
from ...domain.identity import new_dispatch_id
from ...domain.outcome import ExitCode
from ...domain.worktree_end import OF_A_TEST
from ...fleet_test.plan import command_of, plan_of
from ...launch.in_process import InProcess
from ...launch.interrupt import leaving_by
from ...launch.playbook_run import PlaybookRun
from ..command import Command
from ..document import document, encoded
from ..fleet_source import find_fleet, vm_names
from ..options import Options, count, flag, option, seconds, words
from ..report import Report, outcomes_of
from ..terminal import following

__all__ = ["COMMAND", "TestOptions", "test"]

_EXIT_CODES = {"passed": ExitCode.DONE, "failed": ExitCode.FAILED, "unknown": ExitCode.UNVERIFIED}


@dataclass(frozen=True)
class TestOptions(Options):
    """Run a repo's tests on every VM at the same commit, and compare them.

    Exit code 0: they passed on every VM; 3: they failed on one; 10: one could not run them, or proves
    nothing.
    """

    words: tuple[str, ...] = words("REPO", most=1, help="the repo")
    ref: str | None = option(
        "--ref", metavar="SHA", help="the commit; a tag or a branch of the remote will do"
    )
    command: str | None = option(
        "--command",
        metavar="CMD",
        help="what runs the tests (default: verify of the repo in vm-endpoints.json)",
    )
    report: str | None = option(
        "--report",
        metavar="GLOB",
        help="where it writes JUnit XML, which names each test, such as build/*.xml",
    )
    vm: list[str] = option(  # noqa: RUF009 - it is a field
        "--vm",
        default=(),
        action="append",
        metavar="VM",
        complete=vm_names,
        help="only on this VM; may be given several times (default: all that are enabled)",
    )
    repeat: int | None = option(
        "--repeat", type=count, metavar="N", help="run them N times on each VM, to find the flaky ones"
    )
    timeout: float | None = option(
        "--timeout", type=seconds, metavar="TIME", help="how long a run may take, such as 10m (default 30m)"
    )
    output: Path | None = option(  # noqa: RUF009
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write the reports (default: a new folder of yours)",
    )
    no_slack: bool = flag("--no-slack", help="tell nothing in Slack")
    progress_json: bool = flag(
        "--progress-json", help="print what happens on standard error, as a line of JSON each"
    )

    def check(self) -> None:
        if not self.words or not self.ref:
            raise UsageError(
                "a repo and its commit are needed",
                reason_code="usage",
                next_action="dx-fleet test REPO --ref SHA",
            )


def test(options: TestOptions) -> Report:
    """What came of the tests on each VM.

    Raises:
        UsageError: The options can't be meant.
    """
    fleet, inventory = find_fleet(options.inventory)
    vms = _vms(options, fleet)
    variables = _variables(options, fleet, vms)
    if options.no_slack:
        os.environ["SLACK_AUDIT"] = "false"
    playbook = PlaybookRun(
        "fleet_test",
        inventory,
        variables=variables,
        hosts=len(vms),
        verbosity=0 if options.json else options.verbose,
    )
    leave = partial(_leave, variables["id"], vms, in_json=options.json)
    as_json = sys.stderr if options.progress_json else None
    with following(vms, quiet=options.json, as_json=as_json) as followed, leaving_by(leave):
        collected = InProcess().run(playbook, followed.take)
    found = collected.fleet_test
    if found is None:
        again = "ansible-playbook dx.fleet.fleet_test -vvv"
        return Report(
            ExitCode.OWN_FAULT, outcomes_of(list(collected.faults)[:1] or ["localhost"], collected, again)
        )
    return Report(
        _EXIT_CODES[found["state"]], lines=found["lines"], sections={"fleet_test": found["fleet_test"]}
    )


def _leave(name: str, vms: tuple[str, ...], *, in_json: bool) -> int:
    """The last words after Ctrl-C, and the exit code: tests that run on a VM are not ended by it."""
    error = FleetError(
        f"interrupted: worktrees of the branch {OF_A_TEST}{name} may be left on {', '.join(vms)}, and tests"
        " may still run in them",
        reason_code="interrupted",
        next_action="dx-fleet reap, which removes them an hour after their last use",
    )
    if in_json:
        print(encoded(document(ExitCode.DETACHED, error=error)), flush=True)
    else:
        print(f"{error.message}. Next: {error.next_action}", flush=True)
    return int(ExitCode.DETACHED)


def _vms(options: TestOptions, fleet: Fleet) -> tuple[str, ...]:
    if options.vm:
        return tuple(dict.fromkeys(fleet.find(name).name for name in options.vm))
    found = tuple(vm.name for vm in fleet.vms if vm.enabled)
    if not found:
        raise UsageError(
            f"no VM in {fleet.source} is enabled", reason_code="no_vm", next_action="dx-fleet list"
        )
    return found


def _variables(options: TestOptions, fleet: Fleet, vms: tuple[str, ...]) -> dict[str, Any]:
    """The playbook's variables; what was not given is left out, so that its defaults hold."""
    repo = options.words[0]
    given = {
        "target": ",".join(vms),
        "repo": repo,
        "ref": options.ref,
        "id": new_dispatch_id(),
        "command": options.command,
        "report": options.report,
        "dx_timeout": options.timeout,  # Ansible warns of a variable that is called timeout
        "repeat": options.repeat,
        "output": str(options.output.absolute()) if options.output is not None else None,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    variables = {name: value for name, value in given.items() if value is not None}
    # Before anything begins: a command that is missing, a number that can't be meant.
    policies = {name: asdict(policy) for name, policy in fleet.repos.items()}
    command_of(repo, options.command, policies)
    plan_of(variables, {"dx_repos": policies})
    return variables


COMMAND = Command(TestOptions, test, "REPO --ref SHA")
