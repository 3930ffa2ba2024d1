# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fault hook: the controller gets SIGKILL right after a task of the playbook has ended, or as it begins."""

from __future__ import annotations

DOCUMENTATION = """
name: killed_after
type: aggregate
short_description: Kill the controller at a task
description:
  - E(DX_TEST_KILL_AFTER) and E(DX_TEST_KILL_BEFORE) name the task.
"""

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "killed_after"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        _kill_at("DX_TEST_KILL_BEFORE", task.name)

    def v2_runner_on_ok(self, result: Any) -> None:
        _kill_at("DX_TEST_KILL_AFTER", result.task.name)


def _kill_at(variable: str, task: str) -> None:
    if os.environ.get(variable) == task:
        os.kill(os.getpid(), signal.SIGKILL)
