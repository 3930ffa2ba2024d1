# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that a person runs next. It is decided here alone, so that the terminal, the JSON document, the
bead and Slack show the same one, with every option that the run had.

``asked`` is what the run was asked for, by the names of :data:`~.precedence.REQUEST_NAMES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..text.shell import command_line
from . import identity
from .input_request import InputRequest
from .outcome import SHELLS, Evidence, Outcome, State
from .precedence import is_on
from .request import Request

__all__ = [
    "advise",
    "answer_command",
    "bead_command",
    "dispatch_command",
    "join_command",
    "join_later",
    "send_command",
    "show_bead_command",
]

LONG = 1000  # characters of a task that a pasted command may hold

Asked = Mapping[str, Any]

# What is asked for -> the option of dx-dispatch. The first are needed by whoever follows, the others to send.
_FOLLOWING = {
    "timeout": "--timeout",
    "stall_timeout": "--stall-timeout",
    "max_cost": "--max-cost",
    "max_steps": "--max-steps",
    "on_input": "--on-input",
    "branch": "--branch",
    "verify": "--verify",
    "inventory": "--inventory",
}
_SENDING = {
    "agent": "--agent",
    "model": "--model",
    "title": "--title",
    "preflight_timeout": "--preflight-timeout",
}
_ALL = _FOLLOWING | _SENDING
_SWITCHES = {"no_verify": "--no-verify", "expect_changes": "--expect-changes", "push": "--push"}


def advise(outcome: Outcome, asked: Asked, *, ended: str | None = None) -> Outcome:
    """The outcome with its ``next_action``.

    Args:
        outcome: An outcome. What it advises already is kept, unless its bead needs another thing.
        asked: What the run was asked for.
        ended: What becomes of the claim of its bead: ``closed``, ``blocked``, ``released`` or ``held``.
    """
    if outcome.state.good and ended != "blocked":
        return outcome
    return outcome.with_(next_action=_next(outcome, asked, ended))


def send_command(asked: Asked, vm: str | None, dispatch: str) -> str:
    """The command that dispatches under the same id: whatever arrived already is not sent again.

    Args:
        asked: What the run was asked for.
        vm: The VM; None for all of them.
        dispatch: The id.
    """
    words = [*_begin(vm), "--id", dispatch, *_session(asked), *_options(asked, _ALL)]
    return _with_task(words, asked, vm)


def join_command(asked: Asked, vm: str | None, dispatch: str, session: str | None = None) -> str:
    """The command that joins a dispatch, or reports it, and sends nothing.

    Args:
        asked: What the run was asked for.
        vm: Its VM; None for all of them.
        dispatch: Its id.
        session: Its session; named in the command only where it was resumed, else it follows from the id.
    """
    resumed = session is not None and session != identity.session_id(dispatch)
    words = [*_begin(vm), *([vm] if vm else []), "--id", dispatch]
    words += ["--session", session or ""] if resumed else []
    return command_line([*words, *_options(asked, _FOLLOWING)])


def join_later(outcome: Outcome, asked: Asked) -> Outcome:
    """The outcome of a dispatch that is not waited for, with the command that joins it."""
    if outcome.bead is not None:
        return outcome.with_(next_action=bead_command(asked, outcome.bead))
    if outcome.vm is None or outcome.dispatch is None:  # nothing names it: what it says itself stays
        return outcome
    return outcome.with_(next_action=join_command(asked, outcome.vm, outcome.dispatch, outcome.session))


def bead_command(asked: Asked, bead: str, vm: str | None = None, *, retry: bool = False) -> str:
    """The command that continues a bead, or tries a blocked one again, on the VM that its claim names.

    Args:
        asked: What the run was asked for.
        bead: The bead.
        vm: The VM, for a task other than the bead's text.
        retry: Whether it is blocked.
    """
    words = ["dx-dispatch", "--retry" if retry else "--bead", bead]
    words += _options(asked, _ALL)
    words += [f"--{name}" for name in ("force", "takeover") if is_on(asked.get(name))]
    same_session = is_on(asked.get("same_session"))
    words += ["--same-session"] if retry and same_session else []
    if asked.get("task") is None or vm is None or not (_where(asked) or asked.get("session")):
        return command_line(words)
    return _with_task([*words, *([] if same_session else _session(asked))], asked, vm)


def show_bead_command(bead: str) -> str:
    """The command that shows a bead to a person, who then decides."""
    return command_line(["bd", "show", bead])


def dispatch_command(request: Request) -> str:
    """The command that sends a request again: by its bead, else under its id."""
    asked = request.as_asked()
    if request.bead is not None:
        return bead_command(request.asked, request.bead, request.vm)
    return send_command(asked, request.vm, request.dispatch)


def _next(outcome: Outcome, asked: Asked, ended: str | None) -> str | None:
    if outcome.state is State.NEEDS_INPUT and outcome.next_action is not None:
        return outcome.next_action
    if outcome.state is State.NEEDS_INPUT and outcome.session is not None:
        return answer_command(outcome.session, InputRequest.of(outcome.evidence.request))
    finished = outcome.state is State.COMPLETED and not _last_command_failed(outcome.evidence)
    if outcome.bead is not None and ended == "blocked" and finished:
        return command_line(["bd", "close", outcome.bead])  # nothing of ours can check it; a person did
    if outcome.bead is not None and ended == "held" and outcome.reason_code == "unknown_session":
        return command_line(
            ["bd", "update", outcome.bead, "-s", "open", "-a", ""]
        )  # whoever goes on finds none
    if outcome.bead is not None and ended in ("blocked", "held"):
        return bead_command(asked, outcome.bead, outcome.vm, retry=ended == "blocked")
    if outcome.next_action is not None or outcome.vm is None or outcome.session is None:
        return outcome.next_action
    unfinished = outcome.state is State.UNREACHABLE or outcome.reason_code.endswith("_unconfirmed")
    if unfinished and outcome.dispatch is not None:
        return join_command(asked, outcome.vm, outcome.dispatch, outcome.session)
    words = ["dx-dispatch", outcome.vm, *([outcome.repo] if outcome.repo else []), "Continue work"]
    return command_line([*words, "--session", outcome.session, *_options(_of_session(asked), _ALL)])


def _last_command_failed(evidence: Evidence) -> bool:
    commands = [tool for tool in evidence.tools or () if tool.tool in SHELLS]
    return bool(commands) and (commands[-1].status != "completed" or commands[-1].exit not in (0, None))


def answer_command(session: str, asked: InputRequest | None) -> str:
    """The command that answers what an agent waits for, with the first answer to each question."""
    if asked is None:
        return command_line(["dx-fleet", "answer", session])
    answers = asked.first_answers()
    which = ["--request", asked.id]
    if any(answer.startswith("-") for answer in answers):
        return command_line(["dx-fleet", "answer", *which, "--", session, *answers])
    return command_line(["dx-fleet", "answer", session, *answers, *which])


def _begin(vm: str | None) -> list[str]:
    return ["dx-dispatch"] if vm is not None else ["dx-dispatch", "--all"]


def _session(asked: Asked) -> list[str]:
    return ["--session", str(asked["session"])] if asked.get("session") is not None else []


def _where(asked: Asked) -> str | None:
    return asked.get("repo") or asked.get("directory")


def _of_session(asked: Asked) -> Asked:
    """What holds for a session that goes on: it has its title, and its worktree only by its branch."""
    has_branch = asked.get("branch") is not None
    left_out = {"title"} if has_branch else {"title", "expect_changes", "push"}
    return {name: value for name, value in asked.items() if name not in left_out}


def _options(asked: Asked, names: Mapping[str, str]) -> list[str]:
    """The options as they are typed."""
    words = []
    for name, option in names.items():
        value = asked.get(name)
        if value is not None and value != "ask":
            words += [option, f"{value:.15g}" if isinstance(value, float) else str(value)]
    words += [switch for name, switch in _SWITCHES.items() if is_on(asked.get(name))]
    if asked.get("slack") is not None:
        words.append("--slack" if is_on(asked["slack"]) else "--no-slack")
    return words


def _with_task(words: list[str], asked: Asked, vm: str | None) -> str:
    task = asked.get("task")
    shown = None if task is None else task if len(task) <= LONG else "-"
    positional = [word for word in (vm, _where(asked), shown) if word]
    return command_line([*words, "--", *positional]) + (" <TASK_FILE" if shown == "-" else "")
