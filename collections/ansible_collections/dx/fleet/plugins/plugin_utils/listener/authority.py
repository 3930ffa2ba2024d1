# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what from Slack: ``slack_users`` of the endpoints file, by user id and verb."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from .grammar import Answer, Command, Dispatch, Help, Retry, Status, Stop

__all__ = ["VERBS", "Verb", "may", "verb_of"]

Verb = Literal["stop", "answer", "retry", "dispatch", "status"]
VERBS: tuple[Verb, ...] = ("stop", "answer", "retry", "dispatch", "status")

_VERB_OF: Mapping[type[Command], Verb] = {
    Stop: "stop",
    Answer: "answer",
    Retry: "retry",
    Dispatch: "dispatch",
    Status: "status",
    Help: "status",
}


def verb_of(command: Command) -> Verb:
    """What the user must be allowed to do to give this command."""
    return _VERB_OF[type(command)]


def may(users: Mapping[str, Collection[str]], user: str, verb: Verb) -> bool:
    """Whether a user may do this. Nobody may what is not said: without a table, with an unknown user, never.

    Args:
        users: User id -> verbs, or ``*`` for all of them.
        user: A Slack user id, such as ``U0123ABCD``; a name is no id.
        verb: What is to be done.
    """
    verbs = users.get(user, ())
    return verb in verbs or "*" in verbs
