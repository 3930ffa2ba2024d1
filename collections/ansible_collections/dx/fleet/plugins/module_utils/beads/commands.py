# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules on beads do, apart from Ansible: their options in, their result out.

On the tracker host a module of Ansible calls it; where that host is the controller, the action does.
"""

from __future__ import annotations

import typing as t

from ..session_ids import session_id
from .bd import Bd
from .bead import Bead
from .claims import Claimant, Claims, Policy, Result, Seen
from .errors import BeadsError
from .record import attempt_of, text_field

ENDS = ("BLOCKED: ", "RELEASED: ", "RESULT of ")
HISTORY_LIMIT = 500  # characters

__all__ = ["claim", "failure", "info"]

CLAIMANT = (
    "vm",
    "orchestrator",
    "repo",
    "branch",
    "worktree",
    "dispatch",
    "session",
    "dispatcher",
    "begin",
)


def claim(options: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """Bring a claim into the state of ``beads_claim``.

    Args:
        options: Those of the module, with all defaults.
        check: Change nothing.

    Returns:
        The module's result.

    Raises:
        BeadsError: Why not; its details say what that took.
    """
    bd = _bd(options)
    try:
        result = _done(options, bd, check)
        lock = "store" if bd.capabilities.guards else "tracker"
    except BeadsError as error:
        error.details.update(_cost(bd))
        raise
    return {**_told(result), "lock": lock, **_cost(bd)}


def info(options: t.Mapping[str, t.Any], _check: bool) -> dict[str, t.Any]:
    """All claims, as of ``beads_info``; to look changes nothing, so check mode is no other.

    Raises:
        BeadsError: They can't be read.
    """
    bd = _bd(options)
    return {"changed": False, "claims": Claims(bd, bd.workspace).all()}


def returned(
    command: t.Callable[[t.Mapping[str, t.Any], bool], dict[str, t.Any]],
    options: t.Mapping[str, t.Any],
    check: bool,
) -> dict[str, t.Any]:
    """What a module returns: the result of its command, or how that failed."""
    try:
        return command(options, check)
    except BeadsError as error:
        return failure(error)


def failure(error: BeadsError) -> dict[str, t.Any]:
    """The result of a module that failed."""
    return {
        "failed": True,
        "msg": f"{error.message}. Next: {error.next_action}",
        "message": error.message,
        "reason_code": error.reason_code,
        "next_action": error.next_action,
        "state": error.state,
        **error.details,
    }


def _bd(options: t.Mapping[str, t.Any]) -> Bd:
    return Bd(options["beads_executable"], options["beads_dir"], options["timeout"])


def _done(options: t.Mapping[str, t.Any], bd: Bd, check: bool) -> Result:
    """What became of the bead."""
    bead, state, dispatch, reason = (options[name] for name in ("bead", "state", "dispatch", "reason"))
    claims = Claims(bd, bd.workspace, options["lock_timeout"])
    if state == "present":
        return claims.present(bead)
    if state == "claimed":
        claimant = Claimant(**{name: options[name] for name in CLAIMANT})
        return claims.claim(bead, claimant, check, _policy(options))
    if state == "closed":
        return claims.close(bead, dispatch, reason, check)
    if state == "noted":
        return claims.note(bead, dispatch, reason, check)
    seen = options["seen_dispatcher"]
    as_seen = None if seen is None else Seen("in_progress", seen or None)
    if state == "released":
        return claims.release(bead, dispatch, check, reason, as_seen)
    if state != "blocked":
        raise BeadsError(f"state={state} is decided on the controller", "use the action plugin beads_claim")
    return claims.block(bead, dispatch, reason, check, as_seen)


def _policy(options: t.Mapping[str, t.Any]) -> Policy:
    return Policy(
        gone=options["gone_dispatcher"],
        retry=options["retry"],
        force=options["force"],
        alone=options["single_orchestrator"],
        idle=frozenset(options["idle_beads"]),
        takeover=options["takeover"],
    )


def _told(result: Result) -> dict[str, t.Any]:
    before, after = result.before, result.after
    named = ("vm", "dispatch", "session", "message", "repo", "branch")
    told: dict[str, t.Any] = {name: text_field(after, name) for name in named}
    told["attempt"] = attempt_of(after)
    earlier = (text_field(before, "dispatch"), text_field(before, "last_dispatch"))
    told["previous_dispatch"] = next((each for each in earlier if each and each != told["dispatch"]), None)
    if worktree := text_field(after, "worktree"):
        told["worktree"] = worktree
    if told["dispatch"] and told["session"] not in (None, session_id(told["dispatch"])):
        told["resumes"] = told["session"]
    holder = {
        "vm": before.assignee,
        "dispatch": text_field(before, "dispatch"),
        "orchestrator": text_field(before, "orchestrator"),
    }
    return {
        **told,
        "changed": result.changed,
        "bead": after.as_dict(),
        "previous_holder": holder if before.assignee else None,
        "continued": result.continued,
        "noted": after.status if result.overruled else None,
        "others": list(result.others),
        "task": after.task(),
        "history": None if result.continued else _history(before, told["previous_dispatch"]),
        "diff": {"before": before.as_dict(), "after": after.as_dict()},
    }


def _history(before: Bead, previous: str | None) -> str | None:
    """What became of the try before, for the agent that tries again."""
    if previous is None or attempt_of(before) == 0:
        return None
    session = text_field(before, "session") or session_id(previous)
    ends = [line for line in before.notes.splitlines() if line.startswith(ENDS)]
    how = f" It ended so: {ends[-1][:HISTORY_LIMIT]}" if ends else ""
    return (
        f"This is attempt {attempt_of(before) + 1} at {before.id}. The one before was dispatch {previous}, in"
        f" OpenCode session {session}.{how}"
    )


def _cost(bd: Bd) -> dict[str, t.Any]:
    return {"bd_calls": len(bd.calls), "bd_seconds": round(sum(call.seconds for call in bd.calls), 3)}
