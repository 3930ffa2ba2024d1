# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that came as ``-e task='Run make test'``: Ansible splits it at spaces, and the task is ``Run``."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ansible.parsing.splitter import parse_kv

from ..domain.errors import UsageError
from ..domain.precedence import REQUEST_NAMES
from ..text.shell import command_line

__all__ = ["check_whole"]

OTHER_FORMS = ("@", "[", "{", "/", ".")  # as what Ansible takes it by its first character: not as k=v
VARIABLES_OF = ("ansible_", "dx_", "opencode_", "slack_")


def check_whole(options: Iterable[object]) -> None:
    """See that no task was cut short.

    Args:
        options: What was given as ``--extra-vars``, each as it was typed.

    Raises:
        UsageError: ``task_split``: a value of ``task=`` is followed by words that are no variables of ours.
    """
    for option in map(str, options):
        _, begun, typed = option.partition("task=")
        if not begun or option.strip().startswith(OTHER_FORMS):
            continue
        given = parse_kv(option)
        others = [name for name in given if name != "task" and not _is_a_variable(name)]
        if "task" in given and others:
            meant = json.dumps({"task": typed}, ensure_ascii=False)
            raise UsageError(
                f"Ansible splits -e task=… at spaces: the task would be {given['task']!r} alone",
                reason_code="task_split",
                next_action=f"give it as JSON: {command_line(['-e', meant])}",
            )


def _is_a_variable(name: str) -> bool:
    return name in REQUEST_NAMES or name.startswith(VARIABLES_OF)
