# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet stop``: end work, and prove that it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...domain.errors import UsageError
from ...domain.fleet import Fleet
from ...domain.outcome import ExitCode, Outcome, State
from ...domain.stop_wording import stop_lines
from ...launch.in_process import InProcess
from ...launch.interrupt import leaving_by
from ...launch.playbook_run import PlaybookRun
from ...text.shell import command_line
from ..command import Command
from ..fleet_source import find_fleet, vm_names
from ..options import Options, flag, moment, option, words
from ..report import Report, left, outcomes_of
from .status import beads_found

__all__ = ["COMMAND", "StopOptions", "hosts_of", "stop"]


@dataclass(frozen=True)
class StopOptions(Options):
    """Stop what a VM does, or one session, bead or dispatch, and prove it. Descendants stop first."""

    words: tuple[str, ...] = words(
        "TARGET", most=1, help="a VM, a session, a bead or a dispatch", complete=vm_names
    )
    all: bool = flag("--all", help="halt the fleet: stop what any VM does")
    reason: str | None = option("--reason", metavar="TEXT", help="why, for the bead and whoever waits")
    by: str | None = option("--by", metavar="WHO", help="who wants it (default: you)")
    asked_at: float | None = option(
        "--asked-at",
        type=moment,
        metavar="SECONDS",
        help="leave alone what began after this moment, in seconds since the epoch",
    )

    def check(self) -> None:
        if bool(self.words) == self.all:
            raise UsageError(
                "name what to stop, or say --all", reason_code="usage", next_action="dx-fleet stop VM"
            )


def stop(options: StopOptions) -> Report:
    """What was stopped, with its proof.

    Raises:
        UsageError: There is nothing of that name.
    """
    fleet, inventory = find_fleet(options.inventory)
    name = options.words[0] if options.words else None
    hosts, named = hosts_of(fleet, name)
    variables = {
        "target": ":".join(hosts),
        "what": named,
        "reason": options.reason,
        "by": options.by,
        "asked_at": options.asked_at,
        **beads_found(fleet),
    }
    playbook = PlaybookRun(
        "stop",
        inventory,
        variables={key: value for key, value in variables.items() if value is not None},
        hosts=len(hosts),
        verbosity=0 if options.json else options.verbose,
    )
    with leaving_by(left):
        collected = InProcess().run(playbook)
    stops = [each for vm in hosts for each in collected.stops.get(vm, [])]
    again = command_line(["dx-fleet", "stop", *([name] if name else ["--all"])])
    silent = [vm for vm in hosts if vm not in collected.stops]
    outcomes = outcomes_of(silent, collected, again)
    if not stops and not outcomes:
        outcomes = [_nothing(name)]
    lines = [line for each in stops for line in stop_lines(each)]
    return Report(_code(stops, outcomes), outcomes, lines, {"stops": stops})


def hosts_of(fleet: Fleet, name: str | None) -> tuple[list[str], str | None]:
    """The VMs to ask, and what to stop there if it is not all that they do."""
    if name is not None:
        try:
            return [fleet.find(name).name], None
        except UsageError as error:
            if "-" not in name and not name.startswith("ses") and "@" not in name and len(name) < 20:
                raise error  # it can be nothing but a VM
    return [vm.name for vm in fleet.vms if vm.enabled], name


def _nothing(name: str | None) -> Outcome:
    what = "nothing of the fleet works" if name is None else f"nothing of {name} works, or is to begin"
    return Outcome(State.REFUSED, "nothing_to_stop", what, next_action="dx-fleet status")


def _code(stops: list[dict[str, Any]], outcomes: list[Outcome]) -> ExitCode:
    codes = {_code_of(each) for each in stops} | {ExitCode.of(outcome.state) for outcome in outcomes}
    codes = codes - {ExitCode.DONE} or {ExitCode.DONE}
    return codes.pop() if len(codes) == 1 else ExitCode.FAILED


def _code_of(stopped: Mapping[str, Any]) -> ExitCode:
    if stopped["state"] == "still_works":
        return ExitCode.FAILED
    if stopped["state"] == "too_late":
        return ExitCode.REFUSED
    if stopped["state"] == "already_ended" or stopped.get("proven"):
        return ExitCode.DONE
    return ExitCode.UNVERIFIED


COMMAND = Command(StopOptions, stop, "TARGET | --all")
