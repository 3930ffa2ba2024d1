# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from contextlib import suppress
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import LOCATE
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.action import FleetAction, display
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.identity import check_dispatch_id, session_id

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.locate import locate


class ActionModule(FleetAction):
    ARGUMENT_SPEC = LOCATE
    DELEGATED_TO_VM = False  # every server of the inventory is asked, whatever the host

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        dispatch = check_dispatch_id(args["dispatch"])
        groups = self._task_vars.get("groups") or {}
        vms = [vm for group in ("opencode", "disabled") for vm in groups.get(group, ())]
        session = args["session"] or session_id(dispatch)
        found = await locate(session, self.servers_of(vms), patience_s=args["preflight_timeout"])
        if found.vm is None:
            for vm, why in found.silent.items():
                display.warning(f"{vm} could not be asked whether it has the dispatch {dispatch}: {why}")
        result = {"changed": False, "vm": found.vm, "silent": sorted(found.silent)}
        return result if found.vm in (None, self.vm) else {**result, "elsewhere": found.vm}
