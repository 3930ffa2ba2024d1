# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thread as a person sees it in Slack, as plain text.

``python -m tests.lab.slack.show [--root DIR]`` prints all threads of the lab that runs there.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ..binaries import CHECKOUT
from ..lab import Lab, LabError
from .workspace import Message, Thread

__all__ = ["main", "shown"]

_ENTITY = re.compile(r"<([^<>]{1,3000})>")
_RULE = "-" * 40


def shown(thread: Thread, names: Mapping[str, str]) -> str:
    """The thread in lines, without a line end at the end. ``names``: account id -> name."""
    lines = list(_message(thread.root, names))
    if thread.replies:
        lines.append(f"  {len(thread.replies)} {'reply' if len(thread.replies) == 1 else 'replies'}")
    for reply in thread.replies:
        lines += [f"  | {line}".rstrip() for line in _message(reply, names)]
    return "\n".join(lines)


def _message(message: Message, names: Mapping[str, str]) -> Iterator[str]:
    author = names.get(message.user, message.user)
    clock = datetime.fromtimestamp(float(message.ts)).astimezone().strftime("%H:%M")
    yield f"{author}{' APP' if message.bot_id else ''}  {clock}"
    # Where there are blocks, the text is for notifications only.
    body = _blocks(message.blocks, names) if message.blocks else [_readable(message.text, names)]
    *lines, last = [line for part in body for line in part.split("\n")] or [""]
    yield from (f"  {line}" for line in lines)
    yield f"  {last}{' (edited)' if message.edited else ''}"


def _blocks(blocks: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> Iterator[str]:
    for block in blocks:
        match block["type"]:
            case "header" | "section":
                parts = [block.get("text"), *block.get("fields", ())]
                yield from (_text(part, names) for part in parts if part is not None)
                if "accessory" in block:
                    yield _element(block["accessory"], names)
            case "context":
                yield "  ".join(_element(part, names) for part in block["elements"])
            case "actions":
                yield " ".join(_element(part, names) for part in block["elements"])
            case "divider":
                yield _RULE
            case other:
                yield f"({other})"


def _element(element: Mapping[str, Any], names: Mapping[str, str]) -> str:
    match element["type"]:
        case "mrkdwn" | "plain_text":
            return _text(element, names)
        case "button":
            return f"[{_text(element['text'], names)}]"
        case other:
            return f"({element.get('alt_text', other)})"


def _text(part: Mapping[str, Any], names: Mapping[str, str]) -> str:
    text = str(part["text"])
    return _readable(text, names) if part["type"] == "mrkdwn" else _printable(_unescaped(text))


def _readable(text: str, names: Mapping[str, str]) -> str:
    """Mentions and links as they are shown, and Slack's three escapes undone."""
    found = _ENTITY.sub(lambda match: _entity(match[1], names), text)
    return _printable(_unescaped(found))


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _entity(inside: str, names: Mapping[str, str]) -> str:
    target, _, label = inside.partition("|")
    match target[:1]:
        case "@":
            return f"@{names.get(target[1:], label or target[1:])}"
        case "#":
            return f"#{label or target[1:]}"
        case "!":
            return f"@{label or target[1:]}"
    return f"{label} ({target})" if label else target


def _printable(text: str) -> str:
    """Nothing of a message may command the terminal."""
    return "".join(character for character in text if character.isprintable() or character == "\n")


def main(arguments: list[str] | None = None) -> int:
    """Print all threads of a running lab; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.slack.show", description=__doc__)
    parser.add_argument("--root", type=Path, default=CHECKOUT / ".lab", help="default: %(default)s")
    try:
        slack = Lab.attach(parser.parse_args(arguments).root).slack
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    names = slack.names()
    print("\n\n".join(shown(thread, names) for thread in slack.threads()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
