# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`verify_work` as it runs on a VM: in a process of its own, whose children it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils import specs

from tests.command import environment

__all__ = ["PROGRAM", "check_options", "run_check", "start_check"]

PROGRAM = """
import json, sys
from ansible_collections.dx.fleet.plugins.module_utils.verify.commands import verify
from ansible_collections.dx.fleet.plugins.module_utils.git.errors import GitError
try:
    print(json.dumps(verify(json.loads(sys.argv[1]), sys.argv[2:] == ["check"])))
except GitError as error:
    print(json.dumps(error.as_result()))
"""


def check_options(path: Path | str, command: str, **options: Any) -> dict[str, Any]:
    """The module's options with all defaults."""
    defaults = {name: option.get("default") for name, option in specs.VERIFY_WORK.items()}
    return {**defaults, "path": str(path), "command": command, **options}


def start_check(
    path: Path | str,
    command: str,
    *,
    check: bool = False,
    env: Mapping[str, str] | None = None,
    program: str = PROGRAM,
    **options: Any,
) -> subprocess.Popen[str]:
    """Start it; it prints its result or its failure as JSON."""
    words = [json.dumps(check_options(path, command, **options)), *(["check"] if check else [])]
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=environment(env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_check(path: Path | str, command: str, **options: Any) -> dict[str, Any]:
    """Run it to its end."""
    process = start_check(path, command, **options)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    result: dict[str, Any] = json.loads(out)
    return result
