# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.session_ids import session_id
from ansible_collections.dx.fleet.plugins.module_utils.specs import REPLY
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.action import FleetAction
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import PreflightError

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import NotFound, OpenCodeError
    from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.reply import Request, reply, waiting_in
    from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.survey import NEWEST


class ActionModule(FleetAction):
    ARGUMENT_SPEC = REPLY

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        try:
            async with self.connect(args) as server:
                waiting = await self._waiting(server, args)
                told = [{**each.as_dict(), "vm": self.vm, "state": "waits"} for each in waiting]
                if args["answer"] is None or len(waiting) != 1:
                    return {"changed": False, "requests": told}
                if self._task.check_mode:
                    return {"changed": True, "requests": [{**told[0], "state": "would_answer"}]}
                heard = await reply(server, waiting[0], args["answer"])
        except OpenCodeError as error:
            raise PreflightError(error.message, reason_code=error.reason_code) from error
        state = "answered" if heard else "stale"
        return {"changed": heard, "requests": [{**told[0], "state": state, "answer": args["answer"]}]}

    async def _waiting(self, server: OpenCode, args: Mapping[str, Any]) -> list[Request]:
        """What waits there, or in the session, bead or dispatch that is named; of one request, that one."""
        found = []
        for session in await self._sessions(server, args):
            with suppress(NotFound):
                found += await waiting_in(server, session)
        wanted = args["request_id"]
        return [each for each in found if wanted is None or each.request.id == wanted]

    async def _sessions(self, server: OpenCode, args: Mapping[str, Any]) -> list[str]:
        name = args["name"]
        if name is None or name in (self.vm, *(self._task_vars.get("opencode_aliases") or ())):
            return [each.id for each in await server.sessions(NEWEST) if each.parent is None]
        claims = [claim for claim in args["claims"] if claim["vm"] == self.vm and claim["session"]]
        named = [claim["session"] for claim in claims if name in (claim["bead"], claim["dispatch"])]
        return named or [name if name.startswith("ses") else session_id(name)]
