# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module of ours does on a host, given to Python there by its standard input.

A module of Ansible comes with Ansible's own code for modules, which is compiled anew on the host at each run.
A look at the processes of a VM takes 0.35 s as a module and 0.13 s so, and 0.69 s and 0.24 s where all cores
are busy. A stop takes two of them: from Slack, with all cores busy, it took 3.3 s and takes 2.9 s (medians).
A worktree and a check add 1.2 s to a dispatch as modules, and 0.7 s so.
``DX_FAST_START=0`` turns it off, as the rest of :mod:`..launch.fast_start`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ...module_utils import on_host
from ..config.fast_start import is_on

__all__ = ["BEGUN", "MARK", "by_stdin", "program_of", "python_of", "result_in"]

ROOT = Path(on_host.__file__).parent
BEGUN = "dx.fleet begins"  # on a line of its own: what a login prints may not end in one
MARK = "dx.fleet returned: "
# Not with importlib.abc, which imports pathlib, tempfile and more that no module of ours needs.
PROGRAM = """
import json, sys
from importlib import import_module
from importlib.machinery import ModuleSpec
given = json.loads({given!r})

class Given:
    def find_spec(self, name, path=None, target=None):
        if name in given["sources"]:
            return ModuleSpec(name, self, is_package=name in given["packages"])

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(given["sources"][module.__name__], module.__name__, "exec"), module.__dict__)

sys.meta_path.insert(0, Given())
on_host = import_module(given["packages"][0] + ".on_host")
"""
ONCE = """
print(chr(10) + {begun!r}, flush=True)
print({mark!r} + json.dumps(on_host.result_of(given["module"], given["options"], given["check"])))
"""


def by_stdin(
    action: ActionBase, module: str, options: Mapping[str, Any], task_vars: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What a module of ours returns on the host of a task. Check mode is that of the task.

    Args:
        action: The task's; its connection is used.
        module: Its name, such as ``dx.fleet.git_worktree``.
        options: Of the module, of the right types and JSON-ready.
        task_vars: Of the task.

    Returns:
        None where it was not begun, as it can't be run so here. Where it was, and something else came back
        than what it returns, it ``failed`` and is ``not_seen``, with ``rc``, ``module_stdout`` and
        ``module_stderr`` as Ansible has them.

    Raises:
        AnsibleConnectionFailure: The host can't be reached.
    """
    python = python_of(action, task_vars)
    if module.removeprefix("dx.fleet.") not in on_host.COMMANDS or python is None:
        return None
    program = program_of(action, module, ONCE, options)
    done = action._low_level_execute_command(f"{python} -", sudoable=False, in_data=program)
    said = done["stdout"].splitlines()
    if BEGUN not in said:
        return None
    result = result_in(said) if done["rc"] == 0 else None
    if result is not None:
        return result
    return {
        "failed": True,
        "not_seen": True,
        "msg": f"{module} returned nothing",
        "rc": done["rc"],
        "module_stdout": "\n".join(line for line in said if line != BEGUN),
        "module_stderr": done["stderr"],
    }


def python_of(action: ActionBase, task_vars: Mapping[str, Any]) -> str | None:
    """What starts Python on the host of a task for a program of ours; None where none can be started so."""
    python = action._templar.template(task_vars.get("ansible_python_interpreter"))
    is_known = isinstance(python, str) and not python.startswith("auto")
    if not is_known or not _fits(action):
        return None
    return f"{action._compute_environment_string()} {python} -IS".strip()


def _fits(action: ActionBase) -> bool:
    """Whether the connection takes what a program reads, and leads to this user's own shell."""
    connection = action._connection
    is_plain = not connection.become and connection._shell.SHELL_FAMILY == "sh"
    return is_on(os.environ) and is_plain and bool(connection.has_pipelining)


def result_in(said: Sequence[str]) -> dict[str, Any] | None:
    """What was returned, in the lines that were printed; None where it was not."""
    marked = [line for line in said if line.startswith(MARK)]
    try:
        found = json.loads(marked[-1].removeprefix(MARK))
    except (IndexError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def program_of(action: ActionBase, module: str, does: str, options: Mapping[str, Any]) -> bytes:
    """A program with all the code of a module.

    Args:
        action: Of the task: whether it is in check mode.
        module: Its name.
        does: What the program does with it: :data:`ONCE`, or what stands in its place.
        options: Of the module.
    """
    name = module.removeprefix("dx.fleet.")
    package, rooms = ROOT.name, on_host.COMMANDS[name].rooms
    sources = {package: ""}
    for room in ("", *rooms):
        inside = ".".join((package, *filter(None, (room,))))
        sources |= {f"{inside}.{each.stem}": each.read_text() for each in (ROOT / room).glob("*.py")}
        sources[inside] = sources.pop(f"{inside}.__init__", "")
    given = {
        "packages": [package, *(f"{package}.{room}" for room in rooms)],
        "sources": sources,
        "module": name,
        "options": options,
        "check": bool(action._task.check_mode),
    }
    return (PROGRAM + does).format(given=json.dumps(given), begun=BEGUN, mark=MARK).encode()
