# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs actions as Ansible does, with a server in memory."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge import action as ansible_action
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode

from tests.unit.fake_opencode import URL, FakeOpenCode

__all__ = ["Ansible"]


class Ansible:
    """One host and its server. ``connected`` is what clients were made with.

    ``connection``, ``environment`` and ``delegate_to`` are those of the task.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake = FakeOpenCode()
        self.connected: list[dict[str, Any]] = []
        self.connection = MagicMock()
        self.environment: list[dict[str, str]] = []
        self.delegate_to: str | None = None
        self.host: dict[str, Any] = {"inventory_hostname": "epyc6", "opencode_url": URL}
        monkeypatch.setattr(ansible_action, "OpenCode", self._connect)
        monkeypatch.setattr(ansible_action, "display", MagicMock())

    def _connect(self, url: str, **options: Any) -> OpenCode:
        OpenCode(url)
        self.connected.append({"url": url, **options})
        return self.fake.client()

    def run(self, action: Any, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """The result of a task with these options."""
        task = MagicMock(args=options, check_mode=check, async_val=0, diff=False, action="dx.fleet.x")
        task.environment = self.environment
        task.delegate_to = self.delegate_to
        templar = MagicMock()
        loader = MagicMock()
        loader.get_basedir.return_value = "/plays"
        templar.template = lambda value: value
        module = action.ActionModule(task, self.connection, MagicMock(), loader, templar, MagicMock())
        self._last = (action, task, templar, loader)
        found = module.run(task_vars=self.host)
        assert isinstance(found, dict)
        return found

    def try_again(self) -> dict[str, Any]:
        """The result of the next try of the last task: Ansible makes a new action of it."""
        action, task, templar, loader = self._last
        module = action.ActionModule(task, self.connection, MagicMock(), loader, templar, MagicMock())
        found = module.run(task_vars=self.host)
        assert isinstance(found, dict)
        return found
