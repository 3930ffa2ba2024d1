# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import FLEET_TEST_REPORT
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.action import FleetAction, display
from ansible_collections.dx.fleet.plugins.plugin_utils.config.folders import state_folder
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import ConfigError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.orchestrator import orchestrator_of

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.collecting import vm_tests
    from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.document import document_of, write_files
    from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.matrix import Matrix
    from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.plan import command_of
    from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.results import FleetTest, RunState
    from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.text_report import (
        lines_of,
        sentence_of,
    )


class ActionModule(FleetAction):
    ARGUMENT_SPEC = FLEET_TEST_REPORT
    DELEGATED_TO_VM = False  # it reports on all VMs, whatever the host

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "no test is run in check mode"}
        test = self._fleet_test(args)
        matrix = Matrix.of(test)
        folder = Path(args["output"]) if args["output"] else _own_folder(test, args["id"])
        try:
            files = write_files(test, matrix, folder)
        except OSError as error:
            raise ConfigError(
                f"the reports can't be written to {folder}: {error.strerror or error}",
                reason_code="reports_unwritable",
                next_action="name another folder: --output DIR",
            ) from error
        self._record(test, matrix, args["id"])
        result = {
            "changed": True,
            "state": test.state.value,
            "fleet_test": {**document_of(test, matrix), "files": dict(files)},
            "lines": [*lines_of(test, matrix), "", *(f"{kind}: {path}" for kind, path in files.items())],
        }
        if test.state is RunState.PASSED:
            return {**result, "msg": sentence_of(test, matrix)}
        return {**result, "failed": True, "msg": sentence_of(test, matrix)}

    def _fleet_test(self, args: dict[str, Any]) -> FleetTest:
        hosts = self._task_vars["hostvars"]
        known = [hosts[vm] for vm in args["vms"]]
        results = [
            (vm, host.get("dx_made"), host.get("dx_tested"))
            for vm, host in zip(args["vms"], known, strict=True)
        ]
        policies = known[0].get("dx_repos") if known else None
        started, seconds = _times(args["started_at"])
        return FleetTest(
            repo=args["repo"],
            ref=args["ref"],
            command=command_of(args["repo"], args["command"], policies or {}),
            vms=vm_tests(results, args["ref"]),
            started_at=started,
            seconds=seconds,
        )

    def _record(self, test: FleetTest, matrix: Matrix, name: str) -> None:
        """Keep one fact of it for Slack, where that is configured."""
        if not os.environ.get("SLACK_BOT_TOKEN"):
            return
        from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
        from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject
        from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.recorder import recorder_of

        hosts = self._task_vars["hostvars"]
        channel = next((hosts[vm.vm].get("slack_audit_channel") for vm in test.vms), None)
        subject = Subject(name, repo=test.repo, orchestrator=orchestrator_of(os.environ))
        commit = test.commit or test.ref
        recorder_of(channel, display.warning).record(
            kinds.fleet_tested(
                subject, commit=commit, state=test.state.value, message=sentence_of(test, matrix)
            )
        )


def _times(started_at: str | None) -> tuple[str, float]:
    """When it began, and how many seconds ago."""
    now = datetime.now(UTC)
    try:
        began = datetime.fromisoformat(started_at) if started_at else now
        return began.isoformat(timespec="seconds"), max(0.0, (now - began).total_seconds())
    except (ValueError, TypeError):  # it is none, or has no time zone
        return now.isoformat(timespec="seconds"), 0.0


def _own_folder(test: FleetTest, name: str) -> Path:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{test.repo}-{(test.commit or test.ref)[:12]}-{name}")
    return state_folder(os.environ) / "tests" / plain.strip("-.")
