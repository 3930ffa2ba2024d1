# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.session_ids import session_id
from ansible_collections.dx.fleet.plugins.module_utils.specs import REPLY
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.action import FleetAction
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.clock import SYSTEM_CLOCK
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import PreflightError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.person import shown_person
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.text.printable import shortened
from ansible_collections.dx.fleet.plugins.plugin_utils.text.redact import redact

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.activity import working_families
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import NotFound, OpenCodeError
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.recent import recent_sessions
    from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.reply import Request, reply, waiting_in

NOTE_WIDTH = 600


class ActionModule(FleetAction):
    ARGUMENT_SPEC = REPLY

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        by = args["by"] or f"{getpass.getuser()}@{socket.gethostname()}"
        try:
            async with self.connect(args) as server:
                waiting = await self._waiting(server, args)
                shown = [
                    {**request.as_dict(), "vm": self.vm, "state": "waits", "by": None}
                    for request, _ in waiting
                ]
                if not args["answers"] or len(waiting) != 1:
                    return {"changed": False, "requests": shown}
                if self._task.check_mode:
                    return {"changed": True, "requests": [{**shown[0], "state": "would_answer"}]}
                (request, root) = waiting[0]
                heard = await reply(server, request, args["answers"])
                dispatch = (await server.session(root)).metadata.get("dx_dispatch") if heard else None
        except OpenCodeError as error:
            raise PreflightError(error.message, reason_code=error.reason_code) from error
        answered = {**shown[0], "state": "answered" if heard else "stale", "by": by}
        answered["answer"] = "; ".join(args["answers"])
        claim = next((claim for claim in self._claims(args) if claim["session"] == root), None)
        if heard:
            self._record(answered, root, claim, dispatch)
        notes = [_note(answered, claim)] if heard and claim is not None and claim["dispatch"] else []
        return {"changed": heard, "requests": [answered], "notes": notes}

    def _record(
        self, answered: Mapping[str, Any], root: str, claim: Mapping[str, Any] | None, dispatch: Any
    ) -> None:
        """Record in the thread of the dispatch who answered what."""
        if self.telling is not None:
            known = {"vm": self.vm, "bead": None if claim is None else claim["bead"]}
            name = claim["dispatch"] if claim is not None else dispatch if isinstance(dispatch, str) else None
            self.telling.about(name, root, **known)
        fields = {"request": answered["id"], **{name: answered[name] for name in ("words", "answer", "by")}}
        self.emit(ProgressEvent(self.vm, EventKind.ANSWERED, root, fields))

    async def _waiting(self, server: OpenCode, args: Mapping[str, Any]) -> list[tuple[Request, str]]:
        """What waits in what is named, or anywhere there, each with the session of its task."""
        found: list[tuple[Request, str]] = []
        for session in await self._sessions(server, args):
            with suppress(NotFound):
                found += [(request, session) for request in await waiting_in(server, session)]
        wanted = args["request_id"]
        return [each for each in found if wanted is None or each[0].request.id == wanted]

    async def _sessions(self, server: OpenCode, args: Mapping[str, Any]) -> list[str]:
        name = args["name"]
        if name is None or name in self.vm_names:
            return sorted(await working_families(server, await recent_sessions(server)))
        named = [
            claim["session"] for claim in self._claims(args) if name in (claim["bead"], claim["dispatch"])
        ]
        return named or [name if name.startswith("ses") else session_id(name)]

    def _claims(self, args: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The claims on this VM."""
        return [claim for claim in args["claims"] if claim["vm"] == self.vm and claim["session"]]


def _note(answered: Mapping[str, Any], claim: Mapping[str, Any]) -> dict[str, str]:
    """What the bead is to say of an answer."""
    when = datetime.fromtimestamp(SYSTEM_CLOCK.time(), UTC).isoformat(timespec="seconds")
    words = f"ANSWERED by {shown_person(answered['by'])} at {when}: {answered['words']}: {answered['answer']}"
    note = redact(shortened(words, NOTE_WIDTH))
    return {"bead": claim["bead"], "dispatch": claim["dispatch"], "words": note}
