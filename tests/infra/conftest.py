# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of a fleet as testinfra sees them through the inventory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

from tests.command import CHECKOUT
from tests.lab import Lab
from tests.lab.plan import LOCAL_VM
from tests.lab.tracker import Tracker

__all__ = ["Tracking", "hosts", "inventory", "no_detour", "reapers", "repo", "tracking"]


@dataclass(frozen=True)
class Tracking:
    """Where `bd` runs: on an inventory ``host``, or on the controller, where it is ``bd`` if there is one."""

    host: str | None
    bd: str | None

    def version_here(self) -> str | None:
        """Of the controller's `bd`."""
        if self.bd is None:
            return None
        done = subprocess.run([self.bd, "version"], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[0]


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
        patch.setenv("HOME", str(lab.vms[LOCAL_VM].home))  # this machine is that VM
        patch.delenv("XDG_DATA_HOME")
        yield lab.inventory


@pytest.fixture(scope="module")
def hosts(inventory: Path) -> dict[str, Host]:
    """Every enabled VM, by name."""
    found = testinfra.get_hosts(["ansible://opencode"], ansible_inventory=str(inventory))
    return {host.backend.host: host for host in found}


@pytest.fixture
def repo(request: pytest.FixtureRequest) -> str:
    """A repo that every machine has."""
    return str(request.config.getoption("--fleet-repo"))


@pytest.fixture
def reapers(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """The processes to which orphans go: 1, and in the lab its keeper."""
    if request.config.getoption("--fleet") is not None:
        return (1,)
    lab: Lab = request.getfixturevalue("lab")
    return (1, lab.keeper_pid)


@pytest.fixture
def tracking(request: pytest.FixtureRequest, hosts: dict[str, Host], tmp_path: Path) -> Iterator[Tracking]:
    """Of the inventory; the lab's controller and its VMs have a `bd` for the test."""
    if request.config.getoption("--fleet") is not None:
        known = next(iter(hosts.values())).ansible.get_variables()
        yield Tracking(known.get("dx_tracker"), shutil.which("bd"))
        return
    lab: Lab = request.getfixturevalue("lab")
    tracker = Tracker.make(tmp_path / "workspace")
    bd = tracker.folder / "bin" / "bd"
    for_vms = lab.root / "bin" / "bd"
    for_vms.symlink_to(bd)
    yield Tracking(None, str(bd))
    for_vms.unlink()


@pytest.fixture
def no_detour(monkeypatch: pytest.MonkeyPatch) -> None:
    """testinfra may not run ``ansible`` for a command, which it does silently, a second each, for a
    connection that it does not recognise."""

    def run_module(
        self: AnsibleRunner, host: str, module: str, *arguments: object, **options: object
    ) -> None:
        raise AssertionError(f"{host}: {module} was run through ansible")

    monkeypatch.setattr(AnsibleRunner, "run_module", run_module)
