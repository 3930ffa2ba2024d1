# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of a playbook loads before it begins."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.executor import playbook_executor
from ansible_collections.dx.fleet.plugins.plugin_utils.launch import run as playbook_run

LOADERS = ("connection_loader", "shell_loader", "become_loader")


def loaded(monkeypatch: pytest.MonkeyPatch, *hosts: dict[str, Any]) -> list[str]:
    """Names of the plugins that Ansible's executor would load, by Ansible's own loaders."""
    for name in LOADERS:
        monkeypatch.setattr(playbook_executor, name, getattr(playbook_executor, name))
    inventory = MagicMock()
    inventory.get_hosts.return_value = [MagicMock(get_vars=lambda host=host: host) for host in hosts]
    playbook_run._load_only_plugins_of(inventory)
    plugins = [each for name in LOADERS for each in getattr(playbook_executor, name).all(class_only=True)]
    return [plugin._load_name for plugin in plugins]


def test_only_connections_that_hosts_use_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch, {"ansible_connection": "local"}) == ["local", "sh"]
    assert loaded(monkeypatch, {"ansible_connection": "local"}, {"ansible_host": "x"}) == [
        "local",
        "ssh",
        "sh",
    ]
