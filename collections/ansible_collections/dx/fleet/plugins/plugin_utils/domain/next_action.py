# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that a person runs next, for each outcome that leaves them something to do."""

from __future__ import annotations

from collections.abc import Sequence

from ..text.shell import command_line
from . import identity
from .outcome import Outcome, State
from .request import Request

__all__ = ["advise", "dispatch_command", "reattach_command"]

LONG = 1000  # characters of a task that a pasted command may hold


def advise(outcome: Outcome, url: str, password_env: str | None = None) -> Outcome:
    """The outcome with its ``next_action``; one that it already has is kept.

    Args:
        outcome: An outcome with its VM and session.
        url: The VM's server.
        password_env: Environment variable that holds the server's password, if it has one.
    """
    if outcome.next_action is not None or outcome.state.good:
        return outcome
    return outcome.with_(next_action=_command(outcome, url, password_env))


def reattach_command(vm: str, dispatch: str, session: str | None = None, options: Sequence[str] = ()) -> str:
    """The command that joins a dispatch again, or reports it.

    Args:
        vm: Its VM.
        dispatch: Its id.
        session: Its session; named in the command only where it was resumed, else it follows from the id.
        options: Further options.
    """
    resumed = session is not None and session != identity.session_id(dispatch)
    words = [
        "dx-dispatch",
        vm,
        "--id",
        dispatch,
        *(["--session", session or ""] if resumed else []),
        *options,
    ]
    return command_line(words)


def dispatch_command(request: Request) -> str:
    """The command that dispatches a request under its id: whatever arrived already is not sent again."""
    words = ["dx-dispatch", "--id", request.dispatch]
    for option, value in (
        ("--session", request.resume),
        ("--agent", request.agent),
        ("--model", request.model),
    ):
        words += [option, value] if value is not None else []
    where = request.repo or request.directory
    task = request.task if len(request.task) <= LONG else "-"
    positional = [request.vm, *([where] if where else []), *([task] if task else [])]
    return command_line([*words, "--", *positional]) + (" <TASK_FILE" if task == "-" else "")


def _command(outcome: Outcome, url: str, password_env: str | None) -> str | None:
    if outcome.vm is None or outcome.session is None:
        return None
    if outcome.state is State.NEEDS_INPUT:
        secret = f'OPENCODE_SERVER_PASSWORD="${password_env}" ' if password_env else ""
        return secret + command_line(["opencode", "attach", url, "--session", outcome.session])
    unfinished = outcome.state is State.UNREACHABLE or outcome.reason_code.endswith("_unconfirmed")
    if unfinished and outcome.dispatch is not None:
        return reattach_command(outcome.vm, outcome.dispatch, outcome.session)
    words = ["dx-dispatch", outcome.vm, *([outcome.repo] if outcome.repo else [])]
    return command_line([*words, "Continue work", "--session", outcome.session])
