# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done about a command: which of our own commands is run, with which words.

The listener runs ``dx-dispatch`` and ``dx-fleet`` as a person at a terminal would. A task and an instruction
are given on standard input; no text of others is ever read as an option.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...module_utils.beads.ids import is_bead_id
from ..audit.facts.event import Subject
from ..domain.errors import UsageError
from ..domain.fleet import Fleet
from ..domain.input_request import is_request_id
from .grammar import Answer, Command, Dispatch, Retry, Status, Stop
from .shown import ShownRequest

__all__ = ["Plan", "Unclear", "plan_of"]

SESSION = "ses_"
ALL = "all"


@dataclass(frozen=True)
class Plan:
    """A command of ours. ``accepted`` is what is replied at once; ``prints`` says that its own output is the
    answer, where other commands answer with an outcome."""

    argv: tuple[str, ...]
    accepted: str
    stdin: str | None = None
    prints: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """The reverse of :meth:`as_dict`."""
        return cls(**{**data, "argv": tuple(data["argv"])})


@dataclass(frozen=True)
class Unclear:
    """Nothing is done. ``reply`` names what could have been meant."""

    reply: str


def plan_of(
    command: Command,
    fleet: Fleet,
    thread: Sequence[Subject],
    shown: Sequence[ShownRequest] = (),
    *,
    by: str,
    key: str,
    at: str,
) -> Plan | Unclear:
    """What a command means.

    Args:
        command: What was asked for, by somebody who may.
        fleet: The VMs.
        thread: The dispatches of the thread in which it stands, one for each VM; empty outside of one.
        shown: What waited for a person, as far as Slack showed it when this was written.
        by: Who asked, such as ``feng (slack:U0123ABCD)``.
        key: The act's, which is the same for every delivery of it.
        at: When it was written, as Slack's ``ts``.
    """
    match command:
        case Stop():
            return _stop(command, fleet, thread, by, at)
        case Answer():
            return _answer(command, fleet, thread, shown, by)
        case Retry():
            return _retry(command, thread)
        case Dispatch():
            return _dispatch(command, fleet, key)
        case Status():
            return _status(command, fleet)
    return Unclear("")


def _stop(command: Stop, fleet: Fleet, thread: Sequence[Subject], by: str, at: str) -> Plan | Unclear:
    target = _target(command.target, fleet, thread)
    if isinstance(target, Unclear):
        return target
    reason = [f"--reason={command.reason}"] if command.reason else []
    vms = {subject.dispatch: subject.vm for subject in thread}
    where = [f"--vm={vms[target]}"] if vms.get(target) in fleet.names() else []
    # One dispatch of this thread is older than what is written there, whatever this host's clock says.
    asked_at = [] if target in vms else [f"--asked-at={at}"]
    asked = (f"--by={by}", *asked_at, *reason, *where, "--json")
    what = "every VM" if target == ALL else target
    return Plan(
        ("dx-fleet", "stop", *asked, *(("--all",) if target == ALL else ("--", target))),
        f"Stopping {what}{f': {command.reason}' if command.reason else ''}",
    )


def _answer(
    command: Answer, fleet: Fleet, thread: Sequence[Subject], shown: Sequence[ShownRequest], by: str
) -> Plan | Unclear:
    """The answer names its request: by the time that it arrives, the agent may wait for something else."""
    named = command.target if is_request_id(command.target) else command.request
    if named is not None:
        asked = next((each for each in shown if each.id == named), None)
        target = named if asked is None else asked.subject.session or asked.subject.dispatch
        return _answering(named, target, asked, command.reply, by, fleet)
    found = _target(command.target, fleet, thread)
    if isinstance(found, Unclear):
        return found
    meant = [each for each in shown if each.is_of(found)]
    if len(meant) != 1:
        return Unclear(_which_request(found, meant, command.reply))
    (asked,) = meant
    target = asked.subject.session or asked.subject.dispatch
    return _answering(asked.id, target, asked, command.reply, by, fleet)


def _answering(
    request: str, target: str, asked: ShownRequest | None, reply: str, by: str, fleet: Fleet
) -> Plan:
    vm = None if asked is None else asked.subject.vm
    where = [f"--vm={vm}"] if vm in fleet.names() else []
    words = ("dx-fleet", "answer", f"--by={by}", f"--request={request}", *where, "--json")
    what = request if asked is None else f"{vm}: {asked.words}"
    return Plan((*words, "--", target, reply), f"Answering {what}")


def _which_request(target: str, meant: Sequence[ShownRequest], reply: str) -> str:
    if not meant:
        return (
            f"Nothing of {target} that waits was shown here when you wrote. dx-fleet answer {target} shows"
            f" what waits now; answer it by its id: answer per_… {reply}"
        )
    each = "".join(f"\n{one.words}: answer {one.id} {reply}" for one in meant)
    return f"{len(meant)} requests of {target} wait. Which one?{each}"


def _retry(command: Retry, thread: Sequence[Subject]) -> Plan | Unclear:
    beads = sorted({subject.bead for subject in thread if subject.bead})
    bead = command.target or (beads[0] if len(beads) == 1 else None)
    if bead is None:
        return Unclear(
            "Retry which bead? "
            + (", ".join(beads) or "This dispatch has none; send its task anew: dispatch …")
        )
    if not is_bead_id(bead):
        return Unclear(f"{bead} is no bead.")
    branch = (f"--branch={command.branch}",) if command.branch else ()
    instruction = ("--", "-") if command.instruction else ()
    on = f" on branch {command.branch}" if command.branch else ""
    return Plan(
        ("dx-dispatch", f"--retry={bead}", *branch, "--json", *instruction),
        f"Retrying {bead}{on}",
        stdin=command.instruction,
    )


def _dispatch(command: Dispatch, fleet: Fleet, key: str) -> Plan | Unclear:
    try:
        vm = fleet.find(command.vm).name
    except UsageError as error:
        return Unclear(f"{error.message}.")
    # The same act has the same id, so that it is sent once, whoever dies in between.
    dispatch = f"slack-{hashlib.sha256(key.encode()).hexdigest()[:20]}"
    return Plan(
        ("dx-dispatch", f"--id={dispatch}", "--json", "--", vm, command.repo, "-"),
        f"Dispatching to {vm}",
        stdin=command.task,
    )


def _status(command: Status, fleet: Fleet) -> Plan | Unclear:
    try:
        vms = (fleet.find(command.vm).name,) if command.vm else ()
    except UsageError as error:
        return Unclear(f"{error.message}.")
    return Plan(("dx-fleet", "status", "--", *vms), "Looking", prints=True)


def _target(name: str | None, fleet: Fleet, thread: Sequence[Subject]) -> str | Unclear:
    """What a stop or an answer is for: a dispatch, a VM, a session, a bead, or ``all``."""
    if name is None:
        return _only(thread)
    if name.casefold() == ALL:
        return ALL
    if name.startswith(SESSION) or name in {subject.dispatch for subject in thread}:
        return name  # a button names its dispatch
    try:
        vm = fleet.find(name).name
    except UsageError as error:
        return name if is_bead_id(name) else Unclear(f"{error.message}.")
    here = [subject.dispatch for subject in thread if subject.vm == vm]
    return here[0] if len(here) == 1 else vm


def _only(thread: Sequence[Subject]) -> str | Unclear:
    if len(thread) == 1:
        return thread[0].dispatch
    vms = ", ".join(str(subject.vm) for subject in thread)
    return Unclear(
        f"Which one? This thread has {vms}." if vms else "Which one? Name a VM, a session or a bead."
    )
