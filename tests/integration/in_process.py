# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatch to a real server without the command around it, which costs eight times as much.

For tables of what servers, models and strangers answer; that the command ends, exits and advises by the outcome
has tests of its own.
"""

from __future__ import annotations

from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place import place
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import Limits, Target, wait_for

__all__ = ["dispatch"]


async def dispatch(url: str, request: Request) -> Outcome:
    """Look, place and wait; its outcome, a refusal included."""
    try:
        async with OpenCode(url) as server:
            plan = await look(server, request, patience_s=20)
            await place(server, request, plan)
        target = Target(request.vm, plan.session, plan.message, directory=plan.directory)
        limits = Limits(timeout_s=120)
        return (await wait_for({url: [target]}, {url: OpenCode(url)}, limits))[url][0]
    except FleetError as error:
        return error.as_outcome()
