# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the listener replies: text of ours, around text of others that Slack never reads as markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..audit.facts.wording import state_of
from ..audit.slack.text import escaped
from ..domain.event_kind import EventKind
from ..domain.outcome import State
from ..domain.stop_wording import stop_lines
from .authority import verb_of
from .grammar import Command

__all__ = ["HELP", "accepted", "denied", "effect_of", "printed", "unclear", "unknown"]

WIDTH = 2800

HELP = """\
What can be written, in the thread of a dispatch or after a mention of me:
  stop [VM | SESSION | BEAD] [, reason]
  answer [VM | SESSION | BEAD] once | always | reject | "text"
  [switch to BRANCH and] retry [BEAD] [on BRANCH] [: instruction]
  dispatch VM REPO TASK
  status [VM]
In the thread of a dispatch it is that dispatch which is meant. When Slack is down: dx-fleet stop VM."""


def accepted(what: str, user: str) -> str:
    """The first answer: what is done now, and for whom."""
    return f"{escaped(what, WIDTH)} (asked by <@{escaped(user, 40)}>)"


def denied(command: Command) -> str:
    """Somebody asked for what is not theirs to ask for."""
    verb = verb_of(command)
    return f"You may not {verb} from Slack: slack_users of the endpoints file does not list you for it."


def unclear(reply: str) -> str:
    """Nothing was done, and why."""
    return escaped(f"Nothing was done. {reply}", WIDTH)


def unknown() -> str:
    """Somebody spoke to the bot, and it was no command."""
    return f"That is no command of mine, and nothing was done.\n{HELP}"


def effect_of(document: Mapping[str, Any]) -> str:
    """The second answer: what came of it, by the command's JSON document."""
    error = document.get("error")
    if error:
        return escaped(_line("Not done", error), WIDTH)
    results = document.get("results") or ()
    lines = [line for one in document.get("stops") or () for line in stop_lines(one)]
    lines += [
        _line(f"[{one['vm']}] {state_of(EventKind.of(State(one['state']))).capitalize()}", one)
        for one in results
    ]
    return escaped("\n".join(lines), WIDTH) if lines else "Done."


def printed(text: str) -> str:
    """What a command printed for people."""
    return f"```{escaped(text.replace('```', '` ` `'), WIDTH)}```"


def _line(head: str, told: Mapping[str, Any]) -> str:
    next_action = f"\n    next: {told['next_action']}" if told.get("next_action") else ""
    return f"{head}: {told['message_to_human']}{next_action}"
