# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules are to do on one VM for a fleet test: which value wins is decided here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.errors import UsageError
from ..domain.worktree_end import OF_A_TEST

__all__ = ["command_of", "plan_of"]

MAX_RUNS = 100


def command_of(repo: str, command: str | None, policies: Mapping[str, Mapping[str, Any]]) -> str:
    """The command that runs the tests: the one given, else the repo's ``verify`` of the endpoints file.

    Raises:
        UsageError: ``no_command``.
    """
    found = command or policies.get(repo, {}).get("verify")
    if not found:
        raise UsageError(
            f"how are the tests of {repo} run? It has no verify in the repos of vm-endpoints.json",
            reason_code="no_command",
            next_action="give it: --command 'make test'",
        )
    return str(found)


def plan_of(request: Mapping[str, Any], host: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the modules on a VM.

    Args:
        request: ``repo``, ``ref``, ``id``, and where they were given ``command``, ``report``, ``timeout``,
            ``repeat``.
        host: The VM's variables of the vm_endpoints inventory.

    Returns:
        ``directory`` (the clone), ``branch``, ``command``, ``report``, ``counts``, ``timeout`` (seconds) and
        ``runs`` (the numbers of the runs). A report belongs to its command: with a command of one's own the
        repo's report is not looked for.

    Raises:
        UsageError: ``no_command`` or ``bad_repeat``.
    """
    repo = str(request["repo"])
    policies = host.get("dx_repos") or {}
    policy = policies.get(repo, {})
    command = command_of(repo, request.get("command"), policies)
    is_own = command == policy.get("verify")
    report = request.get("report") or (policy.get("report") if is_own else None)
    return {
        "directory": _directory(repo, host),
        "branch": f"{OF_A_TEST}{request['id']}",
        "command": command,
        "report": [report] if report else [],
        "counts": policy.get("counts") or "required",
        "timeout": float(request.get("timeout") or policy.get("verify_timeout") or 1800.0),
        "runs": list(range(1, _repeat(request.get("repeat")) + 1)),
    }


def _repeat(value: Any) -> int:
    try:
        times = int(1 if value is None else value)
    except (TypeError, ValueError):
        times = 0
    if not 0 < times <= MAX_RUNS:
        raise UsageError(
            f"the tests can't be run {value} times",
            reason_code="bad_repeat",
            next_action=f"--repeat with a number from 1 to {MAX_RUNS}",
        )
    return times


def _directory(repo: str, host: Mapping[str, Any]) -> str:
    """Where the clone is: as the endpoints file says, else in the home of the SSH user."""
    named = (host.get("opencode_repos") or {}).get(repo)
    if named:
        return str(named)
    if repo.startswith(("/", "~/")):
        return repo
    root = host.get("opencode_repos_root") or "~"
    return f"{str(root).rstrip('/')}/{repo}"
