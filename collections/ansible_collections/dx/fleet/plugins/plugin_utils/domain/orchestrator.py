# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who dispatches, as ``AGENT@HOST``: a person's words for it, or what the environment shows."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

from .errors import ConfigError

__all__ = ["VARIABLE", "orchestrator_of"]

VARIABLE = "DX_ORCHESTRATOR"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}@[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def orchestrator_of(environ: Mapping[str, str], hostname: str | None = None) -> str:
    """The orchestrator that ``DX_ORCHESTRATOR`` names; else Claude Code where it runs us, else the user.

    Raises:
        ConfigError: ``bad_orchestrator``.
    """
    named = environ.get(VARIABLE)
    if named:
        if not _NAME.fullmatch(named):
            raise ConfigError(
                f"{VARIABLE}={named[:80]!a} is not AGENT@HOST",
                reason_code="bad_orchestrator",
                next_action=f"export {VARIABLE}=claude-code@macmini",
            )
        return named
    host = (hostname or socket.gethostname()).partition(".")[0]
    # Claude Code sets CLAUDECODE=1 for the commands that it runs.
    agent = "claude-code" if environ.get("CLAUDECODE") else environ.get("USER") or "someone"
    return "@".join(
        re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-._") or "unknown" for part in (agent, host)
    )
