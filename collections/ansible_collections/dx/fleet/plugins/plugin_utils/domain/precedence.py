# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which value wins in a step of the flow: an option of its own, what an earlier step returned, or what the
run was asked for.

``request`` is what the run was asked for, as the lookup ``dx.fleet.request`` returns it. ``plan``, ``claim``,
``worktree``, ``sent`` and ``followed`` are what the steps of the flow returned, whole. A step that failed or
was skipped hands nothing on but its outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from .identity import dispatch_id_on

__all__ = [
    "REQUEST_NAMES",
    "claim_options",
    "dispatch_options",
    "follow_options",
    "has_place",
    "is_given",
    "is_on",
    "last_outcome",
    "may_be_any_vm",
    "of_request_for_claim",
    "of_request_for_dispatch",
    "of_request_for_wait",
    "on_its_branch",
    "returned",
    "with_branch_found",
]

Options = Mapping[str, Any]
T = TypeVar("T")

_FOR_DISPATCH = (
    "task",
    "bead",
    "repo",
    "directory",
    "session",
    "agent",
    "model",
    "title",
    "permission",
    "preflight_timeout",
    "target",
    "no_wait",
)
_FOR_WAIT = ("timeout", "stall_timeout", "max_cost", "max_steps", "server_grace", "on_input")
_FOR_CLAIM = ("bead", "orchestrator", "session", "repo", "branch", "retry", "force", "takeover")

_FOR_WORK = ("same_session", "branch", "worktree", "verify", "no_verify", "expect_changes", "push")
_FOR_NEXT_ACTION = ("slack", "inventory")

REQUEST_NAMES = tuple(
    dict.fromkeys(("id", "any_vm", *_FOR_NEXT_ACTION, *_FOR_DISPATCH, *_FOR_WAIT, *_FOR_CLAIM, *_FOR_WORK))
)
"""What a run can be asked for."""


def may_be_any_vm(request: Mapping[str, Any]) -> bool:
    """Whether the run names no VM, so that the VM of its bead, or of its id, will do."""
    return "target" not in request or is_on(request.get("any_vm"))


def of_request_for_dispatch(request: Options) -> dict[str, Any]:
    """Options of ``opencode_dispatch``. What the dispatch of a bead is called follows from its claim."""
    named = _taken(request, _FOR_DISPATCH)
    if may_be_any_vm(request):
        named.pop("target", None)  # it is only where to look first
    return named if "bead" in request else named | _taken(request, ("id",))


def of_request_for_wait(request: Options) -> dict[str, Any]:
    """Options of ``opencode_wait``."""
    return _taken(request, _FOR_WAIT)


def of_request_for_claim(request: Options) -> dict[str, Any]:
    """Options of ``beads_claim``. Where no place is given, only a claim that knows its place can go on."""
    if not request:
        return {}
    named = _taken(request, _FOR_CLAIM)
    return named | {"dispatch": request.get("id"), "begin": has_place(request)}


def dispatch_options(given: Options, vm: str, *, looking: bool) -> dict[str, Any]:
    """The options of ``opencode_dispatch`` after worktree, claim and plan, in this order, then its own.

    Args:
        given: All its options.
        vm: The VM's own name.
        looking: Whether nothing will be sent, so that the text of an unclaimed bead need not be known.
    """
    claim, plan, worktree = (returned(given.get(step)) for step in ("claim", "plan", "worktree"))
    unclaimed = f"Work on {given['bead']}" if looking and given["bead"] is not None else None
    return {
        **given,
        "id": _first(claim.get("dispatch"), plan.get("id"), _own_id(given, vm)),
        "task": _with_history(_first(given["task"], claim.get("task"), unclaimed), claim.get("history")),
        # The session that the claim names, also where another than the one who chose it goes on.
        "session": claim.get("resumes") if claim else given["session"],
        "directory": _first(
            worktree.get("path"),
            plan.get("clone") if looking else None,  # no worktree was made
            claim.get("worktree"),
            plan.get("directory"),
            given["directory"],
        ),
        "join": given["join"] or bool(claim.get("continued")),
    }


def claim_options(given: Options) -> dict[str, Any]:
    """The options of ``beads_claim`` after the steps before it."""
    claim, plan = returned(given["claim"]), returned(given["plan"])
    return {
        **given,
        "dispatch": _first(claim.get("dispatch"), given["dispatch"]),
        "worktree": _first(given["worktree"], plan.get("directory")),
        "branch": _first(plan.get("branch"), given["branch"]),
    }


def follow_options(given: Options) -> dict[str, Any]:
    """The options of ``opencode_wait`` after the step that sent the task."""
    sent = returned(given["sent"])
    outcome = sent.get("outcome") or {}
    found = {name: sent.get(name) for name in ("session", "id", "directory")}
    found["message_id"] = sent.get("message")
    found |= {name: outcome.get(name) for name in ("repo", "bead")}
    return {**given, **{name: _first(given[name], value) for name, value in found.items()}}


def with_branch_found(request: Options, found: Options) -> Options:
    """What the run was asked for; a blocked bead is tried again on the branch of the try before, or in its
    session.

    Args:
        request: What it was asked for.
        found: The bead, as the step that looks for its VM returned it.
    """
    before = returned(found)
    if is_on(request.get("retry")) and is_on(request.get("same_session")):
        return {"session": before["session"], **request} if before.get("session") else request
    branch = before.get("branch")
    if not is_on(request.get("retry")) or "branch" in request or branch is None:
        return request
    return {**request, "branch": branch}


def on_its_branch(request: Options, branch: str | None) -> Options:
    """What the run was asked for, with the branch on which it works; that of a bead is known by its claim.

    Args:
        request: What it was asked for.
        branch: Of the worktree that was made for it; None where there is none.
    """
    if branch is None or is_given(request.get("bead")):
        return request
    return {**request, "branch": branch}


def is_on(value: object) -> bool:
    """Whether a switch is on, which a playbook may have as text."""
    return str(value).lower() in ("true", "yes", "1", "on")


def is_given(value: object) -> bool:
    """Whether an option asks for anything: a text that is not empty, or a switch that is on."""
    return value is not None and str(value).lower() not in ("", "false", "no", "0", "off")


def has_place(options: Options) -> bool:
    """Whether it is known where on the VM to work."""
    return any(options.get(name) is not None for name in ("repo", "directory", "session"))


def returned(step: Options | None) -> Options:
    """What a step returned; nothing where it did not run, was skipped or failed."""
    if not step or step.get("failed") or step.get("skipped") or step.get("unreachable"):
        return {}
    return step


def last_outcome(*steps: Options | None) -> Options:
    """The outcome of the last step that has one; the steps are in the order of the flow. Else empty."""
    for step in reversed(steps):
        outcome = (step or {}).get("outcome")
        if isinstance(outcome, Mapping) and outcome:
            return outcome
    return {}


def _with_history(task: str | None, history: str | None) -> str | None:
    """The task, with what became of an earlier try at it."""
    return task if task is None or history is None else f"{task}\n\n{history}"


def _own_id(given: Options, vm: str) -> str | None:
    if given["id"] is None:
        return None
    target = given["target"]
    named = target is None or target in (vm, *given["aliases"])
    return dispatch_id_on(vm, given["id"], named=named)


def _taken(request: Options, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: request[name] for name in names if request.get(name) is not None}


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)
