# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module of ours does on a host, given to Python there by its standard input.

A module of Ansible comes with Ansible's own code for modules, which is compiled anew on the host at each run.
A look at the processes of a VM takes 0.35 s as a module and 0.13 s so, and 0.69 s and 0.24 s where all cores
are busy. A stop takes two of them: from Slack, with all cores busy, it took 3.3 s and takes 2.9 s (medians).
``DX_FAST_START=0`` turns it off, as the rest of :mod:`..launch.fast_start`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ..config.fast_start import is_on

__all__ = ["NotSeen", "by_stdin"]

MARK = "dx.fleet returned: "
PROGRAM = """
import importlib.abc, importlib.util, json, sys
given = json.loads({given!r})

class Given(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name in given["sources"] else None

    def is_package(self, name):
        return name == given["package"]

    def get_source(self, name):
        return given["sources"][name]

sys.meta_path.insert(0, Given())
module = importlib.import_module(given["package"] + "." + given["module"])
print({mark!r} + json.dumps(getattr(module, given["function"])(given["options"])))
"""


class NotSeen(Exception):
    """It may have run, and what it returned is not known."""


def by_stdin(
    action: ActionBase,
    folder: Path,
    module: str,
    function: str,
    options: Mapping[str, Any],
    task_vars: Mapping[str, Any],
) -> dict[str, Any] | None:
    """What a function of ours returns on the host of a task.

    Args:
        action: The task's; its connection is used.
        folder: A package that imports nothing but Python's own modules and its own, such as
            ``module_utils/work_processes``.
        module: The one of it that has the function.
        function: It takes the options and returns a dict; both are JSON-ready.
        options: What it is given.
        task_vars: Of the task.

    Returns:
        None where it was not run, as it can't be run so here.

    Raises:
        NotSeen: Something else came back than what it returns.
        AnsibleConnectionFailure: The host can't be reached.
    """
    python = action._templar.template(task_vars.get("ansible_python_interpreter"))
    is_plain = not action._connection.become and action._connection._shell.SHELL_FAMILY == "sh"
    if not is_on(os.environ) or not is_plain or not isinstance(python, str) or python.startswith("auto"):
        return None
    command = f"{action._compute_environment_string()} {python} -I -".strip()
    program = _program(folder, module, function, options)
    done = action._low_level_execute_command(command, sudoable=False, in_data=program.encode())
    returned = [line for line in done["stdout"].splitlines() if line.startswith(MARK)]
    if done["rc"] != 0 or not returned:
        raise NotSeen
    try:
        found = json.loads(returned[-1].removeprefix(MARK))
    except ValueError:
        raise NotSeen from None
    if not isinstance(found, dict):
        raise NotSeen
    return found


def _program(folder: Path, module: str, function: str, options: Mapping[str, Any]) -> str:
    package = folder.name
    sources = {f"{package}.{each.stem}": each.read_text() for each in folder.glob("*.py")}
    sources[package] = sources.pop(f"{package}.__init__")
    given = {
        "package": package,
        "module": module,
        "function": function,
        "options": options,
        "sources": sources,
    }
    return PROGRAM.format(given=json.dumps(given), mark=MARK)
