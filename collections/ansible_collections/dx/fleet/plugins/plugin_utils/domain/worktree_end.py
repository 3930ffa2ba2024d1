# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which worktrees of dispatches end, by the policy of their repo. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .fleet import RepoPolicy

__all__ = ["OF_A_TEST", "keep_s_of", "why_kept"]

OF_A_TEST = "dx-fleet-test/"
"""How the branches begin of what `dx-fleet test` makes and takes away."""

DAY_S = 86400.0

Facts = Mapping[str, Any]


def keep_s_of(tree: Facts, policies: Mapping[str, Facts], repos: Mapping[str, str], ttl_s: float) -> float:
    """For how many seconds after its last use a worktree stays.

    Args:
        tree: As the module C(git_worktree_info) lists it.
        policies: What holds for each repo, by name, as the host variable ``dx_repos`` has it.
        repos: The directory of each repo that has one of its own on the VM, by name.
        ttl_s: For how many it stays where only an accident left it: of a test run, or half made.
    """
    if tree["half_made"] or str(tree["branch"] or "").startswith(OF_A_TEST):
        return ttl_s
    clone = str(tree["repo"]).rstrip("/")
    names = [name for name, directory in repos.items() if _is_at(directory, clone)]
    name = names[0] if names else clone.rpartition("/")[2]
    days = (policies.get(name) or {}).get("keep_worktrees")
    return DAY_S * float(RepoPolicy.keep_worktrees if days is None else days)


def why_kept(tree: Facts, claims: Sequence[Facts] | None, keep_s: float) -> str | None:
    """Why a worktree is left alone, as far as its VM's server need not be asked; None: it is to end.

    Args:
        tree: As the module C(git_worktree_info) lists it.
        claims: The claims of beads, as the module C(beads_reap) left them; None: the tracker could not say.
        keep_s: For how many seconds after its last use it stays.
    """
    dispatch = tree["dispatch"]
    if tree["problem"]:
        return str(tree["problem"])
    if tree["locked"] is not None and dispatch is None and not tree["half_made"]:
        return f"a person has locked it ({tree['locked'] or 'no reason given'})"
    if tree["processes"]:
        return f"{', '.join(tree['processes'][:3])} works in it"
    if claims is None and dispatch is not None and "@" in dispatch:
        return f"dispatch {dispatch} has it, and the tracker can't say whether that ended"
    for claim in claims or ():
        if claim["status"] == "in_progress" and claim.get("became") == "kept" and _is_of(claim, tree):
            return f"bead {claim['bead']} is worked on in it"
    if tree["unused_s"] < keep_s:
        return f"it was used {_span(tree['unused_s'])} ago, and stays for {_span(keep_s)}"
    return None


def _is_of(claim: Facts, tree: Facts) -> bool:
    same_dispatch = tree["dispatch"] is not None and claim.get("dispatch") == tree["dispatch"]
    return same_dispatch or bool(claim.get("worktree") == tree["path"])


def _is_at(directory: str, clone: str) -> bool:
    directory = directory.rstrip("/")
    return clone == directory or (directory.startswith("~/") and clone.endswith(directory[1:]))


def _span(seconds: float) -> str:
    """``3 days``, ``5 hours``, ``20 s``: rounded down."""
    for size, name in ((DAY_S, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {name}{'' if number == 1 else 's'}"
    return f"{seconds:.0f} s"
