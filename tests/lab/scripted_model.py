# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripted model as tests see it: where it is, and what it was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

__all__ = ["Call", "ScriptedModel"]


@dataclass(frozen=True)
class Call:
    """One call that reached the model.

    ``time`` is in epoch seconds. ``vm`` is the caller's name. ``kind`` is ``turn`` or ``title``.
    ``starts_turn`` says that nothing followed the last user message yet. ``answered`` is ``ok``,
    ``no finish``, ``status 429``, ``drop``, ``badjson``, ``silent`` (with ``, client went away`` if it did),
    or empty while it is under way.
    """

    number: int
    time: float
    vm: str
    session: str | None
    model: str
    kind: str
    starts_turn: bool
    last_user_text: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[str]
    answered: str


class ScriptedModel:
    """A view of the model server of a running lab."""

    def __init__(self, origin: str) -> None:
        self.url = f"{origin}/v1"
        self._http = httpx.Client(base_url=origin, timeout=30, trust_env=False, verify=False)

    def calls(self, contains: str = "", *, vm: str | None = None) -> list[Call]:
        """All calls whose last user message has the text, oldest first."""
        return self._list(contains, vm, prompts=False)

    def prompts(self, contains: str = "", *, vm: str | None = None) -> list[Call]:
        """The calls which start a turn (no title requests, nothing after the last user message).

        A failed call that OpenCode repeats is here as often as it was made.
        """
        return self._list(contains, vm, prompts=True)

    def wait_for_prompt(
        self, contains: str = "", *, vm: str | None = None, count: int = 1, timeout_s: float = 90
    ) -> list[Call]:
        """Wait till so many prompts have reached the model.

        Raises:
            TimeoutError: they have not.
        """
        return self._wait(contains, vm, count, timeout_s, prompts=True)

    def wait_for_call(
        self, contains: str = "", *, vm: str | None = None, count: int = 1, timeout_s: float = 90
    ) -> list[Call]:
        """Like :meth:`wait_for_prompt` for calls of any kind."""
        return self._wait(contains, vm, count, timeout_s, prompts=False)

    def clear(self) -> None:
        """Forget all calls, and what ``times=`` has counted."""
        self._http.post("/lab/calls/clear").raise_for_status()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _wait(self, contains: str, vm: str | None, count: int, timeout_s: float, prompts: bool) -> list[Call]:
        found = self._list(contains, vm, prompts=prompts, at_least=count, timeout_s=timeout_s)
        if len(found) < count:
            raise TimeoutError(f"{len(found)} of {count} calls with {contains!r} came within {timeout_s} s")
        return found

    def _list(
        self, contains: str, vm: str | None, *, prompts: bool, at_least: int = 0, timeout_s: float = 0
    ) -> list[Call]:
        query = {"contains": contains, "prompts": str(int(prompts)), "at_least": str(at_least)}
        query |= {"timeout": str(timeout_s)} | ({} if vm is None else {"vm": vm})
        answer = self._http.get("/lab/calls", params=query, timeout=timeout_s + 30)
        answer.raise_for_status()
        return [Call(**call) for call in answer.json()]
