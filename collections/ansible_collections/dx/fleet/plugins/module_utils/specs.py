# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs, shared by an action plugin and the module of the same name that documents it."""

from __future__ import annotations

import os
import typing as t

Spec = dict[str, dict[str, t.Any]]

CONNECTION: Spec = {
    "url": {"type": "str"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "password_env": {"type": "str", "no_log": False},
    "transport": {"type": "str", "choices": ["auto", "http", "ssh"]},
}

PATIENCE: Spec = {"preflight_timeout": {"type": "float", "default": 20.0}}

INFO: Spec = {**CONNECTION, **PATIENCE}

LOCATE: Spec = {
    "dispatch": {"type": "str", "required": True},
    "session": {"type": "str"},
    "preflight_timeout": {"type": "float", "default": 5.0},
}

REQUEST: Spec = {"request": {"type": "dict", "default": {}}}


def earlier(*steps: str) -> Spec:
    """An option for what each of these steps of the flow returned."""
    return {step: {"type": "dict", "default": {}} for step in steps}


WORK: Spec = {"policies": {"type": "dict", "default": {}}, "worktrees_root": {"type": "str"}}

DISPATCH: Spec = {
    **CONNECTION,
    **PATIENCE,
    **REQUEST,
    **WORK,
    **earlier("plan", "claim", "worktree"),
    "task": {"type": "str"},
    "id": {"type": "str"},
    "target": {"type": "str"},
    "aliases": {"type": "list", "elements": "str", "default": []},
    "bead": {"type": "str"},
    "repo": {"type": "str"},
    "directory": {"type": "str"},
    "session": {"type": "str"},
    "agent": {"type": "str"},
    "model": {"type": "str"},
    "title": {"type": "str"},
    "permission": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "permission": {"type": "str", "required": True},
            "pattern": {"type": "str", "default": "*"},
            "action": {"type": "str", "required": True, "choices": ["allow", "ask", "deny"]},
        },
    },
    "join": {"type": "bool", "default": False},
    "no_wait": {"type": "bool", "default": False},
    "enabled": {"type": "bool", "default": True},
    "max_concurrent": {"type": "int"},
    "repos": {"type": "dict", "default": {}},
    "repos_root": {"type": "str"},
}

WAIT: Spec = {
    **CONNECTION,
    **REQUEST,
    "policies": {"type": "dict", "default": {}},
    **earlier("sent"),
    "session": {"type": "str"},
    "message_id": {"type": "str"},
    "id": {"type": "str"},
    "bead": {"type": "str"},
    "repo": {"type": "str"},
    "directory": {"type": "str"},
    "sessions": {
        "type": "list",
        "elements": "dict",
        "options": {
            "vm": {"type": "str", "required": True},
            "session": {"type": "str", "required": True},
            "message_id": {"type": "str"},
            "id": {"type": "str"},
            "bead": {"type": "str"},
            "repo": {"type": "str"},
            "directory": {"type": "str"},
            **CONNECTION,
        },
    },
    "timeout": {"type": "float", "default": 3600.0},
    "stall_timeout": {"type": "float", "default": 600.0},
    "max_cost": {"type": "float"},
    "max_steps": {"type": "int", "default": 300},
    "server_grace": {"type": "float", "default": 20.0},
    "on_input": {"type": "str", "choices": ["ask", "fail", "reject"], "default": "fail"},
    "answer_policy": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "action": {"type": "str", "required": True, "choices": ["allow", "deny"]},
            "permission": {"type": "str", "required": True},
            "pattern": {"type": "str", "default": "*"},
        },
    },
}

WORKTREE_STEP: Spec = {
    **CONNECTION,
    **REQUEST,
    **WORK,
    **earlier("plan", "claim", "worktree", "sent", "followed", "verified"),
    "state": {"type": "str", "choices": ["present", "released"], "default": "present"},
    "repos": {"type": "dict", "default": {}},
    "repos_root": {"type": "str"},
}

VERIFY_STEP: Spec = {
    **REQUEST,
    "policies": {"type": "dict", "default": {}},
    **earlier("claim", "worktree", "sent", "followed"),
}

BEADS: Spec = {
    "beads_dir": {"type": "path"},
    "beads_executable": {"type": "str", "default": "bd"},
    "timeout": {"type": "float", "default": 60.0},
}

CLAIM: Spec = {
    **BEADS,
    **REQUEST,
    "policies": {"type": "dict", "default": {}},
    **earlier("plan", "claim", "made", "sent", "followed", "verified"),
    "bead": {"type": "str", "required": True},
    "state": {
        "type": "str",
        "choices": ["claimed", "released", "blocked", "closed", "noted", "settled", "present", "located"],
        "default": "claimed",
    },
    "dispatch": {"type": "str"},
    "vm": {"type": "str"},
    "orchestrator": {"type": "str"},
    "dispatcher": {"type": "str"},
    "gone_dispatcher": {"type": "str"},
    "session": {"type": "str"},
    "repo": {"type": "str"},
    "branch": {"type": "str"},
    "worktree": {"type": "str"},
    "begin": {"type": "bool", "default": True},
    "retry": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "single_orchestrator": {"type": "bool", "default": False},
    "takeover": {"type": "bool", "default": False},
    "idle_beads": {"type": "list", "elements": "str", "default": []},
    "seen_dispatcher": {"type": "str"},
    "reason": {"type": "str"},
    "lock_timeout": {"type": "float", "default": 60.0},
}

CLAIM_REQUIRED_IF = [
    ("state", "claimed", ["vm", "orchestrator"]),
    ("state", "released", ["dispatch"]),
    ("state", "blocked", ["dispatch", "reason"]),
    ("state", "closed", ["dispatch", "reason"]),
    ("state", "noted", ["dispatch", "reason"]),
]

BEADS_INFO: Spec = {
    **BEADS,
    "preflight_timeout": {"type": "float", "default": 5.0},
    "sessions": {"type": "bool", "default": True},
}

FLEET_TEST_REPORT: Spec = {
    "vms": {"type": "list", "elements": "str", "required": True},
    "repo": {"type": "str", "required": True},
    "ref": {"type": "str", "required": True},
    "id": {"type": "str", "default": "by-hand"},
    "command": {"type": "str"},
    "output": {"type": "path"},
    "started_at": {"type": "str"},
}

REAP: Spec = {
    **BEADS,
    "preflight_timeout": BEADS_INFO["preflight_timeout"],
    "ttl": {"type": "float", "default": 3600.0},
}

WORKTREE_REAP: Spec = {
    **CONNECTION,
    **WORK,
    "preflight_timeout": {"type": "float", "default": 5.0},
    "repos": {"type": "dict", "default": {}},
    "claims": {"type": "list", "elements": "dict"},
    "ttl": {"type": "float", "default": 3600.0},
}

GIT_WORKTREE_INFO: Spec = {
    "worktrees_roots": {"type": "list", "elements": "path", "default": []},
    "timeout": {"type": "float", "default": 60.0},
}

GIT_WORKTREE: Spec = {
    "repo": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "pushed"], "default": "present"},
    "branch": {"type": "str"},
    "path": {"type": "path"},
    "base": {"type": "str"},
    "remote": {"type": "str"},
    "worktrees_root": {"type": "path"},
    "dispatch": {"type": "str"},
    "ended_dispatches": {"type": "list", "elements": "str", "default": []},
    "locked": {"type": "bool", "default": True},
    "fetch": {"type": "bool", "default": True},
    "submodules": {"type": "bool", "default": False},
    "delete_branch": {"type": "bool", "default": False},
    "commit": {"type": "str"},
    "rescue_limit": {"type": "int", "default": 512},
    "fetch_timeout": {"type": "float", "default": 120.0},
    "lock_timeout": {"type": "float", "default": 300.0},
    "timeout": {"type": "float", "default": 600.0},
}

GIT_WORKTREE_REQUIRED_IF = [("state", "present", ["branch"])]
GIT_WORKTREE_REQUIRED_ONE_OF = [("branch", "path")]

VERIFY_WORK: Spec = {
    "path": {"type": "path", "required": True},
    "command": {"type": "str", "required": True},
    "report": {"type": "list", "elements": "str", "default": []},
    "return_reports": {"type": "bool", "default": False},
    "counts": {"type": "str", "choices": ["required", "none"], "default": "required"},
    "timeout": {"type": "float", "default": 1800.0},
    "base": {"type": "str"},
    "branch": {"type": "str"},
    "expect_changes": {"type": "bool", "default": False},
    "allow_changed_check": {"type": "bool", "default": False},
    "dispatch": {"type": "str"},
    "unlock": {
        "type": "dict",
        "options": {
            "repo": {"type": "path", "required": True},
            "branch": {"type": "str", "required": True},
            "worktrees_root": {"type": "path"},
        },
    },
    "ask_remote": {"type": "bool", "default": True},
    "remote_timeout": {"type": "float", "default": 20.0},
    "output_limit": {"type": "int", "default": 8},
    "tail": {"type": "int", "default": 4000},
    "lock_timeout": {"type": "float", "default": 60.0},
}

WORK_PROCESSES: Spec = {
    "directory": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["listed", "ended"], "default": "listed"},
    "exclusive": {"type": "bool", "default": False},
    "watch": {"type": "float", "default": 0.0},
    "since": {
        "type": "dict",
        "options": {
            "moment": {"type": "float", "required": True},
            "head": {"type": "str"},
            "processes": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "pid": {"type": "int", "required": True},
                    "began": {"type": "str", "required": True},
                },
            },
        },
    },
}

STOP: Spec = {
    **CONNECTION,
    "name": {"type": "str"},
    "claims": {"type": "list", "elements": "dict", "default": []},
    "reason": {"type": "str"},
    "by": {"type": "str"},
    "asked_at": {"type": "float"},
    "timeout": {"type": "float", "default": 10.0},
    "stopped": {"type": "dict"},
    "blocked": {"type": "dict"},
}

REPLY: Spec = {
    **CONNECTION,
    "name": {"type": "str"},
    "request_id": {"type": "str"},
    "claims": {"type": "list", "elements": "dict", "default": []},
    "answers": {"type": "list", "elements": "str", "default": []},
    "by": {"type": "str"},
}


def complete(options: t.Mapping[str, t.Any], spec: Spec) -> dict[str, t.Any]:
    """All options of a module, as Ansible gives them to it on its host.

    Args:
        options: Those that are given, of the right types. The others have their defaults.
        spec: Of the module.
    """
    found: dict[str, t.Any] = {}
    for name, of_option in spec.items():
        value = options.get(name)
        if value is None:
            value = of_option.get("default")
        elif of_option["type"] == "path":
            value = _path(value)
        elif of_option.get("elements") == "path":
            value = [_path(each) for each in value]
        elif "options" in of_option and isinstance(value, dict):
            value = complete(value, of_option["options"])
        found[name] = value
    return found


def _path(value: str) -> str:
    return os.path.expanduser(os.path.expandvars(value))
