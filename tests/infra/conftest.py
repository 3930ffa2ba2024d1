# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of a fleet as testinfra sees them through the inventory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

from tests.command import CHECKOUT
from tests.lab import Lab

__all__ = ["hosts", "inventory"]


@pytest.fixture(scope="module")
def inventory(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The inventory source of ``--fleet``, else the lab's, with the environment in which it is read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(CHECKOUT)  # for its ansible.cfg
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("ANSIBLE_COLLECTIONS_PATH", str(CHECKOUT / "collections"))
        chosen: Path | None = request.config.getoption("--fleet")
        if chosen is not None:
            yield (request.config.invocation_params.dir / chosen).resolve()
            return
        lab: Lab = request.getfixturevalue("lab")
        for name, value in lab.env.items():
            patch.setenv(name, value)
        yield lab.inventory


@pytest.fixture(scope="module")
def hosts(inventory: Path) -> dict[str, Host]:
    """Every enabled VM, by name."""
    found = testinfra.get_hosts(["ansible://opencode"], ansible_inventory=str(inventory))
    return {host.backend.host: host for host in found}


@pytest.fixture
def no_detour(monkeypatch: pytest.MonkeyPatch) -> None:
    """testinfra may not run ``ansible`` for a command, which it does silently, a second each, for a
    connection that it does not recognise."""

    def run_module(
        self: AnsibleRunner, host: str, module: str, *arguments: object, **options: object
    ) -> None:
        raise AssertionError(f"{host}: {module} was run through ansible")

    monkeypatch.setattr(AnsibleRunner, "run_module", run_module)
