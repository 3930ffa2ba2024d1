# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from contextlib import suppress
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import INFO
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.action import FleetAction

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.survey import survey


class ActionModule(FleetAction):
    ARGUMENT_SPEC = INFO

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        async with self.connect(args) as server:
            found = await survey(server, self.vm, patience_s=args["preflight_timeout"])
        return {"changed": False, "transport": server.way, **found.as_dict()}
