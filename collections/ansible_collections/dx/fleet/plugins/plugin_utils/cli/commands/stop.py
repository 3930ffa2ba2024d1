# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet stop``: end work, and prove that it ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...domain.clock import SYSTEM_CLOCK
from ...domain.errors import UsageError
from ...domain.fleet import Fleet
from ...domain.outcome import ExitCode, Outcome, State
from ...domain.stop_wording import stop_lines
from ...launch.in_process import InProcess
from ...launch.interrupt import leaving_by
from ...text.shell import command_line
from ..command import Command
from ..fleet_playbook import playbook_for
from ..fleet_source import find_fleet, vm_names
from ..kept_stops import KeptStop, KeptStops, as_section
from ..options import Options, flag, moment, option, words
from ..report import Report, left, outcomes_of
from ..stopping import carry_out_kept_stops, keep_stops, person

__all__ = ["COMMAND", "StopOptions", "hosts_of", "stop"]


@dataclass(frozen=True)
class StopOptions(Options):
    """Stop what a VM does, or one session, bead or dispatch, and prove it. Descendants stop first."""

    words: tuple[str, ...] = words(
        "TARGET", most=1, help="a VM, a session, a bead or a dispatch", complete=vm_names
    )
    vm: str | None = option(
        "--vm",
        metavar="VM",
        help="where the target works, if you know: no other VM is asked",
        complete=vm_names,
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
    kept: bool = flag("--kept", help="try again the stops that are kept for VMs that could not be reached")
    forget: bool = flag("--forget", help="stop nothing, and drop what is kept for the target")

    def check(self) -> None:
        if bool(self.words) + self.all + self.kept != 1:
            raise UsageError(
                "name what to stop, or say --all, or --kept",
                reason_code="usage",
                next_action="dx-fleet stop VM",
            )
        if self.vm is not None and not self.words:
            raise UsageError(
                "--vm says where a session, bead or dispatch works; name that as well",
                reason_code="usage",
                next_action=f"dx-fleet stop {self.vm}",
            )
        if self.kept and self.forget:
            raise UsageError(
                "--forget does not go with --kept",
                reason_code="usage",
                next_action="dx-fleet stop --all --forget",
            )


def stop(options: StopOptions) -> Report:
    """What was stopped, with its proof.

    Raises:
        UsageError: There is nothing of that name.
    """
    fleet, inventory = find_fleet(options.inventory)
    if options.kept:
        carry_out_kept_stops(fleet, inventory, fleet.names())
        return _kept_report(KeptStops(os.environ).all())
    name = options.words[0] if options.words else None
    hosts, named = hosts_of(fleet, name, options.vm)
    kept = KeptStops(os.environ)
    if options.forget:
        dropped = [each for vm in hosts for each in kept.forget(vm, named)]
        now = SYSTEM_CLOCK.time()
        lines = [f"Dropped the stop of {each.in_words(now)}" for each in dropped] or [
            "No stop of it is kept."
        ]
        return Report(ExitCode.DONE, lines=lines)
    now = SYSTEM_CLOCK.time()
    by, asked_at = options.by or person(), now if options.asked_at is None else options.asked_at
    given = {"what": named, "reason": options.reason, "by": by, "asked_at": options.asked_at}
    playbook = playbook_for("stop", fleet, inventory, hosts, given, 0 if options.json else options.verbose)
    with leaving_by(left):
        collected = InProcess().run(playbook)
    stops = [each for vm in hosts for each in collected.stops.get(vm, [])]
    again = command_line(["dx-fleet", "stop", *([name] if name else ["--all"])])
    silent = [vm for vm in hosts if vm not in collected.stops]
    for vm in collected.stops:
        kept.forget(vm, named)
    carry_out_kept_stops(fleet, inventory, collected.stops)
    unreached = [vm for vm in silent if _is_unreached(collected.outcomes.get(vm))]
    waiting = keep_stops(
        fleet, unreached, collected, named, by=by, reason=options.reason or "", asked_at=asked_at
    )
    outcomes = [_with_kept(each, waiting) for each in outcomes_of(silent, collected, again)]
    if not stops and not outcomes:
        outcomes = [_nothing(name)]
    lines = [line for each in stops for line in stop_lines(each)]
    sections: dict[str, Any] = {"stops": stops} | ({"kept_stops": as_section(waiting)} if waiting else {})
    return Report(_code(stops, outcomes), outcomes, lines, sections)


def _kept_report(left_over: list[KeptStop]) -> Report:
    now = SYSTEM_CLOCK.time()
    lines = [f"Kept stop: {each.in_words(now)}" for each in left_over] or ["No stop is kept."]
    code = ExitCode.UNREACHABLE if left_over else ExitCode.DONE
    return Report(code, lines=lines, sections={"stops": [], "kept_stops": as_section(left_over)})


def _is_unreached(outcome: Mapping[str, Any] | None) -> bool:
    return outcome is not None and outcome["state"] == State.UNREACHABLE


def _with_kept(outcome: Outcome, waiting: list[KeptStop]) -> Outcome:
    """The outcome of a VM that was not reached; its stop is done when it is back."""
    if not any(each.vm == outcome.vm for each in waiting):
        return outcome
    words = (
        f"{outcome.message_to_human}. The stop is kept: it is done when {outcome.vm} answers again, by"
        " dx-fleet listen or by the next command there"
    )
    return outcome.with_(message_to_human=words, next_action="dx-fleet stop --kept")


def hosts_of(fleet: Fleet, name: str | None, vm: str | None = None) -> tuple[list[str], str | None]:
    """The VMs to ask, and what to stop there if it is not all that they do. ``vm``: where it works."""
    if vm is not None:
        return [fleet.find(vm).name], name
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


COMMAND = Command(StopOptions, stop, "TARGET | --all | --kept")
