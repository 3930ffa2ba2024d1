# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that a person runs next, for each outcome that leaves them something to do."""

from __future__ import annotations

import shlex

from .outcome import Outcome, State

__all__ = ["advise", "reattach_command"]


def advise(outcome: Outcome, url: str) -> Outcome:
    """The outcome with its ``next_action``; one that it already has is kept.

    Args:
        outcome: An outcome with its VM and session.
        url: The VM's server.
    """
    if outcome.next_action is not None or outcome.state.good:
        return outcome
    return outcome.with_(next_action=_command(outcome, url))


def reattach_command(vm: str, dispatch: str, session: str | None = None) -> str:
    """The command that joins a dispatch again, or reports it; ``session`` only where it was resumed."""
    words = ["dx-dispatch", vm, "--id", dispatch] + (["--session", session] if session else [])
    return shlex.join(words)


def _command(outcome: Outcome, url: str) -> str | None:
    if outcome.vm is None or outcome.session is None:
        return None
    if outcome.state is State.NEEDS_INPUT:
        return shlex.join(["opencode", "attach", url, "--session", outcome.session])
    if outcome.state is State.UNREACHABLE and outcome.dispatch is not None:
        return reattach_command(outcome.vm, outcome.dispatch)
    words = ["dx-dispatch", outcome.vm, *([outcome.repo] if outcome.repo else [])]
    return shlex.join([*words, "Continue work", "--session", outcome.session])
