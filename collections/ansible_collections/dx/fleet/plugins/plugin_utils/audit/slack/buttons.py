# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The buttons of a head. Whoever clicks is checked again, and what the button is about is looked up again."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from .text import escaped

__all__ = ["Button", "button", "request_value", "without_request"]


class Button(StrEnum):
    """``action_id`` of a button. Its value is the dispatch id; of :attr:`RETRY` it is the bead, and of
    those that answer it is that of :func:`request_value`."""

    STOP = "dx_stop"
    ALLOW_ONCE = "dx_allow_once"
    REJECT = "dx_reject"
    RETRY = "dx_retry"


_LABELS = {
    Button.STOP: "Stop",
    Button.ALLOW_ONCE: "Allow once",
    Button.REJECT: "Reject",
    Button.RETRY: "Retry",
}


def request_value(dispatch: str, request: str) -> str:
    """The value of a button that answers this request of a dispatch and no other one."""
    return f"{dispatch} {request}"


def without_request(value: str) -> tuple[str, str | None]:
    """The dispatch and the request of :func:`request_value`."""
    dispatch, _, request = value.partition(" ")
    return dispatch, request or None


def button(kind: Button, value: str, vm: str | None = None) -> Mapping[str, Any]:
    """The element of an ``actions`` block; a stop asks whether it is meant, and names the VM."""
    where = f" on {escaped(vm, 80)}" if vm else ""
    element: dict[str, Any] = {
        "type": "button",
        "action_id": kind.value,
        "value": value[:2000],
        "text": _plain(_LABELS[kind]),
    }
    if kind is Button.STOP:
        element["style"] = "danger"
        element["confirm"] = {
            "title": _plain("Stop this work?"),
            "text": _plain(f"The agent{where} is stopped; what it has not committed stays where it is."),
            "confirm": _plain("Stop"),
            "deny": _plain("Let it work"),
        }
    return element


def _plain(text: str) -> Mapping[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
