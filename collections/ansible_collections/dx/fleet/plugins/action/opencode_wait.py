# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import WAIT
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_action import FleetAction
from ansible_collections.dx.fleet.plugins.plugin_utils.errors import UsageError

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.advice import advise
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
    from ansible_collections.dx.fleet.plugins.plugin_utils.wait import Limits, Target, directory_of, wait_for


class ActionModule(FleetAction):
    ARGUMENT_SPEC = WAIT

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        wanted = _wanted(args, self.vm)
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "nothing is waited for in check mode"}
        servers: dict[str, OpenCode] = {}
        targets: dict[str, list[Target]] = {}
        for each in wanted:
            server = self.connect(each)
            servers.setdefault(server.url, server)
            targets.setdefault(server.url, []).append(await self._target(each))
        found = await wait_for(targets, servers, _limits(args), emit=self.emit)
        urls = {target.session: url for url, members in targets.items() for target in members}
        outcomes = [advise(outcome, urls[outcome.session or ""]) for outcome in found]
        bad = [outcome for outcome in outcomes if not outcome.state.good]
        result = self.failed(bad[0]) if bad else {"msg": outcomes[0].message_to_human}
        if args["sessions"]:
            return {"changed": False, **result, "outcomes": [outcome.as_dict() for outcome in outcomes]}
        return {"changed": False, **result, "outcome": outcomes[0].as_dict()}

    async def _target(self, wanted: Mapping[str, Any]) -> Target:
        directory = wanted["directory"]
        if directory is None:
            async with self.connect(wanted) as server:
                directory = await directory_of(server, wanted["vm"], wanted["session"])
        return Target(
            vm=wanted["vm"],
            session=wanted["session"],
            directory=directory,
            message=wanted["message"],
            dispatch=wanted["id"],
            repo=wanted["repo"],
        )


def _wanted(args: Mapping[str, Any], vm: str) -> list[Mapping[str, Any]]:
    """The sessions to wait for; a listed one takes what it leaves out from the task's own options.

    Raises:
        UsageError: ``session_missing``.
    """
    if args["sessions"]:
        inherited = {key: args[key] for key in ("url", "username", "password", "password_env")}
        return [
            inherited
            | {key: value for key, value in each.items() if value is not None or key not in inherited}
            for each in args["sessions"]
        ]
    if not args["session"]:
        raise UsageError(
            "there is no session to wait for", reason_code="session_missing", next_action="set session"
        )
    return [{**args, "vm": vm}]


def _limits(args: Mapping[str, Any]) -> Limits:
    """A limit of 0 is none."""
    return Limits(
        timeout_s=args["timeout"] or None,
        stall_timeout_s=args["stall_timeout"] or None,
        max_cost=args["max_cost"] or None,
        max_steps=args["max_steps"] or None,
        server_gone_s=args["server_grace"],
        server_silent_s=3 * args["server_grace"],
    )
