# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet answer``: what an agent waits for gets its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...domain.errors import UsageError
from ...domain.input_request import InputQuestion, InputRequest, is_request_id
from ...domain.next_action import answer_command
from ...domain.outcome import Outcome, State
from ...domain.person import shown_person
from ...launch.in_process import InProcess
from ...launch.interrupt import leaving_by
from ...text.shell import command_line
from ..command import Command
from ..fleet_playbook import playbook_for
from ..fleet_source import find_fleet, vm_names
from ..options import Options, option, words
from ..report import Report, graded, left, outcomes_of
from ..stopping import carry_out_kept_stops
from ..terminal import question_lines
from .stop import hosts_of

__all__ = ["COMMAND", "AnswerOptions", "answer"]


@dataclass(frozen=True)
class AnswerOptions(Options):
    """Answer the permission or the question that an agent waits for. Without an answer, show it."""

    words: tuple[str, ...] = words(
        "TARGET [once|always|reject|TEXT]",
        help="a VM, a session, a bead, a dispatch or a request; then the answer, or one for each of several"
        " questions",
        complete=vm_names,
    )
    request: str | None = option(
        "--request", metavar="ID", help="answer this one alone, and nothing where it no longer waits"
    )
    vm: str | None = option(
        "--vm",
        metavar="VM",
        help="where the target works, if you know: no other VM is asked",
        complete=vm_names,
    )
    by: str | None = option(
        "--by", metavar="WHO", help="who answers, for the thread and the bead (default: you)"
    )

    def check(self) -> None:
        if not self.words:
            raise UsageError("name what to answer", reason_code="usage", next_action="dx-fleet answer VM")


def answer(options: AnswerOptions) -> Report:
    """What waited, and whether it has its answer.

    Raises:
        UsageError: There is no such VM.
    """
    fleet, inventory = find_fleet(options.inventory)
    name, *answers = options.words
    request = name if is_request_id(name) else options.request
    hosts, named = hosts_of(fleet, None if request == name else name, options.vm)
    playbook = playbook_for(
        "answer",
        fleet,
        inventory,
        hosts,
        {"what": named, "answers": answers or None, "request_id": request, "by": options.by},
        verbosity=0 if options.json else options.verbose,
    )
    with leaving_by(left):
        collected = InProcess().run(playbook)
    requests = [each for vm in hosts for each in collected.requests.get(vm, [])]
    again = command_line(["dx-fleet", "answer", *options.words])
    silent = [vm for vm in hosts if vm not in collected.requests]
    outcomes = outcomes_of(silent, collected, again)
    if not any(each["state"] == "answered" for each in requests):
        outcomes += (
            [] if outcomes and not requests else [_unanswered(name, requests, request, given=bool(answers))]
        )
    carry_out_kept_stops(fleet, inventory, collected.requests)
    lines = [line for each in requests for line in _lines(each)]
    done = sum(each["state"] == "answered" for each in requests)
    return Report(graded(outcomes, done), outcomes, lines, {"requests": requests})


def _unanswered(
    name: str, requests: Sequence[Mapping[str, Any]], request: str | None, *, given: bool
) -> Outcome:
    if request is not None and (not requests or requests[0]["state"] == "stale"):
        return Outcome(
            State.REFUSED,
            "already_answered",
            f"{request} no longer waits: it was answered meanwhile, or its work ended. Nothing was answered",
            vm=requests[0]["vm"] if requests else None,
            next_action="dx-fleet status" if name == request else command_line(["dx-fleet", "answer", name]),
        )
    if not requests:
        return Outcome(
            State.REFUSED,
            "nothing_waits",
            f"nothing of {name} waits for an answer",
            next_action="dx-fleet status",
        )
    first = requests[0]
    if first["state"] == "stale":
        return Outcome(
            State.REFUSED, "already_answered", f"{first['id']} was answered meanwhile", vm=first["vm"]
        )
    answered = answer_command(first["session"], _asked(first))
    if len(requests) > 1 and given:
        words = f"{len(requests)} requests wait: say which one is meant"
        return Outcome(State.REFUSED, "answer_ambiguous", words, next_action=answered, vm=first["vm"])
    return Outcome(State.NEEDS_INPUT, first["kind"], first["words"], next_action=answered, vm=first["vm"])


def _asked(request: Mapping[str, Any]) -> InputRequest:
    questions = tuple(map(InputQuestion.from_dict, request["questions"]))
    return InputRequest(request["id"], request["session"], questions)


def _lines(request: Mapping[str, Any]) -> Iterator[str]:
    where = f"[{request['vm']}] {request['session']}"
    if request["state"] == "answered":
        yield f"{where}: {request['words']}: answered: {request['answer']} (by {shown_person(request['by'])})"
        return
    yield f"{where}: {request['words']} ({request['id']})"
    yield from question_lines(_asked(request).questions)


COMMAND = Command(AnswerOptions, answer, "TARGET [ANSWER]")
