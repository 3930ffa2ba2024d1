# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: dispatch_results
type: stdout
short_description: Collects the outcomes of a dispatch for the command dx-dispatch
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Used by C(dx-dispatch), which runs a playbook in its own process and shows the outcomes itself.
  - It prints nothing but the warnings of tasks, on standard error.
options:
  results:
    description: Descriptor of the open file in which the results of tasks are recorded; none of them is by default.
    type: int
    env:
      - name: DX_RESULTS_FD
"""

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge import progress_bus
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.launch import interrupt
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.collected import record

CHECK = "dx.fleet.verify_work"
STEPS = ("dx.fleet.git_worktree", CHECK)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "dx.fleet.dispatch_results"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        interrupt.take_over()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if getattr(task, "resolved_action", None) in STEPS:
            _show(host.name, task.get_name().strip())

    def v2_runner_item_on_ok(self, result: Any) -> None:
        found = result.result
        if _action(result) == CHECK and "verdict" in found:
            _show(result.host.name, f"Run {found.get('item')}: {found['verdict']}, {found.get('message')}")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._take(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._take(result, failed=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._take(result, failed=True)

    def _take(self, result: Any, *, failed: bool = False) -> None:
        # Ansible leaves it to this callback to show what a worker warned of: an outbox that is full, say.
        for warning in result.result.get("warnings") or ():
            self._display.warning(str(warning))
        if (descriptor := self.get_option("results")) is not None:
            record(descriptor, result.host.name, result.result, failed=failed, action=_action(result))


def _show(vm: str, step: str) -> None:
    """Have a step of the playbook shown as progress: a module that runs on a VM can't show any itself."""
    progress_bus.send(ProgressEvent(vm, EventKind.STEP, fields={"step": step}))


def _action(result: Any) -> str | None:
    return getattr(result.task, "resolved_action", None)
