# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a message in Slack asks for: a command, or nothing.

A command begins with its verb and fills the whole message, so that talk about stopping stops nothing:
"don't stop epyc6" and "please stop using tabs" are no commands. What follows the verb may be put in several
ways ("stop the epyc6 task, wrong branch"; "abort ses_abc: wrong branch"). Nothing is guessed: a name that the
grammar takes is still looked up in the fleet before anything is done.

    stop|abort [the] TARGET [task|session|dispatch] [, REASON]
    [switch to [branch] BRANCH [branch] and] retry [BEAD] [on [branch] BRANCH] [: INSTRUCTION]
    answer [TARGET] once|always|reject|"TEXT"
    dispatch VM REPO TASK
    status [VM]
    help

In the thread of a dispatch TARGET may be left out: it is that dispatch.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

__all__ = [
    "Answer",
    "Command",
    "Dispatch",
    "Help",
    "Retry",
    "Status",
    "Stop",
    "command_in",
    "without_mention",
]


@dataclass(frozen=True)
class Stop:
    """``target`` is a VM, a session, a bead, a dispatch or ``all``; None is the thread's own dispatch."""

    target: str | None
    reason: str | None = None


@dataclass(frozen=True)
class Retry:
    """Work once more on a bead; None is the thread's own."""

    target: str | None
    branch: str | None = None
    instruction: str | None = None


@dataclass(frozen=True)
class Answer:
    """``reply`` is ``once``, ``always`` or ``reject``, else the text that answers a question. ``request`` is
    the id of the one that is meant; None is the one that was shown."""

    target: str | None
    reply: str
    is_text: bool = False
    request: str | None = None


@dataclass(frozen=True)
class Dispatch:
    """Send a task to a VM. The task is data: its lines and spaces stay as they are."""

    vm: str
    repo: str
    task: str


@dataclass(frozen=True)
class Status:
    """What a VM is doing; None is all of them."""

    vm: str | None = None


@dataclass(frozen=True)
class Help:
    """How commands are given."""


Command = Stop | Retry | Answer | Dispatch | Status | Help

# A name as VMs, sessions, beads and dispatches have: no space, no quote, no invisible character.
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._@-]*[A-Za-z0-9_])?"
# What git takes as the name of a branch, less what a shell or an option could be.
_BRANCH = r"(?![^\s]*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9._/+@#-]*[A-Za-z0-9_+#])?"
_KIND = r"(?:task|session|dispatch|run|work|agent)"
_REASON = r"(?:\s*(?:[,:;]|\s[-\u2013\u2014](?=\s))\s*(?P<reason>\S.*?)|\s+(?P<because>because\s+\S.*?))?"
_END = r"\s*[.!]*"

_STOP = re.compile(
    rf"(?:stop|abort)(?:\s+(?:the\s+)?(?:(?:it|this|that|{_KIND})|(?P<target>{_NAME})(?:\s+{_KIND})?))??"
    rf"{_REASON}{_END}",
    re.IGNORECASE | re.DOTALL,
)
_RETRY = re.compile(
    rf"(?:switch\s+to\s+(?:the\s+)?(?:branch\s+)?(?P<switch>{_BRANCH})(?:\s+branch)?\s*,?\s*and\s+)?"
    rf"retry(?:\s+(?:it|this|that|the\s+{_KIND})|\s+(?!on\b)(?P<target>{_NAME})(?:\s+{_KIND})?)?"
    rf"(?:\s+on\s+(?:the\s+)?(?:branch\s+)?(?P<branch>{_BRANCH})(?:\s+branch)?)?"
    rf"(?:\s*[:,;]\s*(?P<instruction>\S.*)|{_END})",
    re.IGNORECASE | re.DOTALL,
)
_REPLY = re.compile(
    rf"answer(?:\s+(?:the\s+)?(?P<target>{_NAME})(?=\s))??"
    rf"(?:\s+|\s*:\s*)(?:(?P<choice>once|always|reject){_END}"
    rf"|[\"\u201c](?P<text>[^\"\u201c\u201d]*\S[^\"\u201c\u201d]*)[\"\u201d])",
    re.IGNORECASE | re.DOTALL,
)
_DISPATCH = re.compile(
    rf"dispatch\s+(?:to\s+)?(?P<vm>{_NAME})\s+(?P<repo>{_NAME})(?:\s+|\s*:\s*)(?P<task>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_STATUS = re.compile(rf"status(?:\s+(?:of\s+)?(?P<vm>{_NAME}))?\s*[?.!]*", re.IGNORECASE)
_HELP = re.compile(r"help\s*[?.!]*", re.IGNORECASE)

# <http://epyc6.example.ts.net|epyc6.example.ts.net>: what Slack makes of a host name that somebody typed.
_LINKED_NAME = re.compile(r"<https?://(?P<typed>[^|>\s]+)\|(?P=typed)>")


def without_mention(text: str, bot_user: str) -> str | None:
    """The message after a mention of the bot at its beginning; None where it does not begin with one.

    Args:
        text: As Slack sends it.
        bot_user: The bot's user id, such as ``U0AUDITBOT``.
    """
    found = re.match(rf"\s*<@{re.escape(bot_user)}(?:\|[^>]*)?>\s*[,:]?\s*", text)
    return text[found.end() :] if found else None


def command_in(text: str, *, in_thread: bool) -> Command | None:
    """The command that a message is, as a whole; None where it is none.

    Args:
        text: As Slack sends it (``&amp;``, ``<http://…|…>``), without a mention of the bot.
        in_thread: Whether it stands in the thread of a dispatch, which then is what a missing target means.
    """
    plain = html.unescape(_LINKED_NAME.sub(lambda link: link["typed"], text)).strip()
    for read in (_stop, _retry, _answer, _dispatch, _status, _help):
        command = read(plain)
        if command is not None:
            return command if in_thread or _names_its_target(command) else None
    return None


def _names_its_target(command: Command) -> bool:
    return not isinstance(command, (Stop, Retry, Answer)) or command.target is not None


def _stop(text: str) -> Command | None:
    found = _STOP.fullmatch(text)
    return found and Stop(found["target"], _line(found["reason"] or found["because"]))


def _retry(text: str) -> Command | None:
    found = _RETRY.fullmatch(text)
    if not found or (found["switch"] and found["branch"] and found["switch"] != found["branch"]):
        return None
    return Retry(found["target"], found["switch"] or found["branch"], found["instruction"])


def _answer(text: str) -> Command | None:
    found = _REPLY.fullmatch(text)
    if not found:
        return None
    if found["choice"]:
        return Answer(found["target"], found["choice"].lower())
    return Answer(found["target"], found["text"], is_text=True)


def _dispatch(text: str) -> Command | None:
    found = _DISPATCH.fullmatch(text)
    return found and Dispatch(found["vm"], found["repo"], found["task"])


def _status(text: str) -> Command | None:
    found = _STATUS.fullmatch(text)
    return found and Status(found["vm"])


def _help(text: str) -> Command | None:
    return Help() if _HELP.fullmatch(text) else None


def _line(text: str | None) -> str | None:
    return " ".join(text.split()) if text else None
