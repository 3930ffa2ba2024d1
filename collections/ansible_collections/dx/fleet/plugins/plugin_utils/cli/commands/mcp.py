# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet mcp``: the fleet as tools for an orchestrating agent, by the Model Context Protocol."""

from __future__ import annotations

from dataclasses import dataclass

from ...domain.errors import ConfigError
from ...domain.outcome import ExitCode
from ..command import Command
from ..fleet_source import find_fleet
from ..options import Options
from ..report import Report

__all__ = ["COMMAND", "McpOptions", "mcp"]


@dataclass(frozen=True)
class McpOptions(Options):
    """Serve the fleet to an orchestrating agent by the Model Context Protocol, over stdio."""


def mcp(options: McpOptions) -> Report:
    """Serve until standard input ends.

    Raises:
        ConfigError: ``mcp_missing``: the SDK is not installed.
    """
    _, inventory = find_fleet(options.inventory)
    try:
        from ...mcp.tools import server_of
    except ImportError as error:
        raise ConfigError(
            f"the Model Context Protocol's SDK is not installed ({error.name} is missing)",
            reason_code="mcp_missing",
            next_action="pip install 'dx-fleet[mcp]'",
        ) from error
    server_of(inventory.absolute()).run("stdio")
    return Report(ExitCode.DONE)


COMMAND = Command(
    McpOptions,
    mcp,
    examples="examples:\n  claude mcp add dx-fleet -- dx-fleet mcp\n",
)
