# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A home directory and an environment in which OpenCode asks nobody but the scripted model."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from .binaries import pinned_version
from .model_server import API_KEY_PREFIX
from .plan import LAB_ID_VARIABLE, VM_VARIABLE

__all__ = ["KEEPS_SNAPSHOTS", "prepare_home", "server_environment"]

KEEPS_SNAPSHOTS = "homedesktop"
"""The VM whose OpenCode keeps snapshots, as it does by default. They take half of a server's time."""
_MODELS = "models.json"
"""The models of all providers, of which there are none here. Reading those that OpenCode brings takes it a CPU second
in each directory in which it begins to work."""


def prepare_home(home: Path, vm: str, model_url: str) -> None:
    """Write OpenCode's configuration: the scripted provider, and everything off that would use the network.

    Permissions stay as OpenCode has them, so that it asks when it would ask a user.
    """
    config = home / ".config" / "opencode"
    config.mkdir(parents=True, exist_ok=True)
    _write_json(config / "opencode.json", _config(vm, model_url))
    _write_json(config / _MODELS, {})
    _forestall_npm_install(config)


def server_environment(home: Path, lab_id: str, vm: str, password: str | None, tools: Path) -> dict[str, str]:
    """The whole environment of a server: nothing of the caller's but PATH, language and user name."""
    environment = {
        "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home),
        "TMPDIR": str(_made(home / ".tmp")),
        "SHELL": "/bin/bash",
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "USER": os.environ.get("USER", "lab"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_MODELS_PATH": str(home / ".config" / "opencode" / _MODELS),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        LAB_ID_VARIABLE: lab_id,
        VM_VARIABLE: vm,
    }
    if password is not None:
        environment["OPENCODE_SERVER_PASSWORD"] = password
    return environment


def make_tools(directory: Path) -> Path:
    """A directory for the servers' PATH with a ``python3`` that needs no version manager of the real home."""
    directory.mkdir(parents=True, exist_ok=True)
    python = directory / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return directory


def _config(vm: str, model_url: str) -> dict[str, Any]:
    # USD per million tokens: 100 in and 20 out, the model's usual answer, cost 0.0006 USD.
    model = {
        "tool_call": True,
        "cost": {"input": 3, "output": 15},
        "limit": {"context": 200_000, "output": 32_000},
    }
    snapshots = {} if vm == KEEPS_SNAPSHOTS else {"snapshot": False}
    return snapshots | {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "lsp": False,
        "model": "scripted/main",
        "small_model": "scripted/small",
        "provider": {
            "scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Scripted",
                "options": {"baseURL": model_url, "apiKey": f"{API_KEY_PREFIX}{vm}"},
                "models": {"main": {"name": "Main", **model}, "small": {"name": "Small", **model}},
            }
        },
    }


def _forestall_npm_install(config: Path) -> None:
    """OpenCode installs its plugin package (63 MB) into its config directory unless it seems to be there."""
    dependencies = {"@opencode-ai/plugin": pinned_version()}
    (config / "node_modules").mkdir(exist_ok=True)
    _write_json(config / "package.json", {"dependencies": dependencies})
    packages = {"": {"dependencies": dependencies}}
    _write_json(config / "package-lock.json", {"lockfileVersion": 3, "requires": True, "packages": packages})


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n")
