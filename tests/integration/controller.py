# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's machine whose VMs are OpenCode servers in memory: nothing that is tried there reaches an agent."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.command import Completed, run_dispatch, run_fleet
from tests.unit.endpoints_files import file_text
from tests.unit.fake_opencode import FakeOpenCode

from .served import served

__all__ = ["Controller", "FakeVM", "controller"]


class FakeVM:
    """One VM of a person's fleet: an entry of their endpoints file, and a server of its own in memory."""

    def __init__(self, controller: Controller, name: str) -> None:
        self.fake = FakeOpenCode()
        self.stack = controller.stack
        self._controller = controller
        self._name = name
        self.at(self.stack.enter_context(served(self.fake)))

    def at(self, port: int, scheme: str = "http") -> None:
        """Its server is said to be at that port."""
        self.port = port
        self.describe(opencode=f"{scheme}://127.0.0.1:{port}")

    def describe(self, **entry: Any) -> None:
        """Change its entry in the endpoints file."""
        data = self._controller.read()
        data["vms"].setdefault(self._name, {}).update(entry)
        self._controller.write(data)


class Controller:
    """A person's machine, what they type there, and the VMs of their fleet: ``vm``, which is epyc6, if no others.

    Args:
        names: Those of the VMs; the first is the default.
    """

    def __init__(self, root: Path, stack: ExitStack, names: Sequence[str] = ("epyc6",)) -> None:
        self.root = root
        self.file = root / "vm-endpoints.json"
        self.stack = stack
        self._mark = secrets.token_hex(8)
        for name in ("home", "tmp", "work"):
            (root / name).mkdir()
        self.write({"vms": {}, "default_vm": names[0]})
        self.vms = {name: FakeVM(self, name) for name in names}
        self.vm = self.vms[names[0]]

    @property
    def fake(self) -> FakeOpenCode:
        """The server of :attr:`vm`."""
        return self.vm.fake

    @property
    def port(self) -> int:
        """That of :attr:`vm`'s server."""
        return self.vm.port

    def read(self) -> Any:
        """What the endpoints file holds."""
        return json.loads(self.file.read_text())

    def write(self, data: Any) -> None:
        """Write the endpoints file; text as it stands."""
        self.file.write_text(data if isinstance(data, str) else file_text(data))

    @property
    def env(self) -> dict[str, str]:
        return {
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "DX_VM_ENDPOINTS": str(self.file),
            "DX_TEST_MARK": self._mark,
            "SLACK_AUDIT": "false",
        }

    def run(self, *words: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> Completed:
        """Run dx-dispatch; ``env`` is added to the environment."""
        return run_dispatch(*words, env=self.env | dict(env or {}), stdin=stdin, cwd=self.root / "work")

    def look(self, command: str) -> Completed:
        """Run a command of dx-fleet with --json."""
        return run_fleet(command, "--json", env=self.env, cwd=self.root / "work")

    def check_untouched(self) -> None:
        """Nothing was changed on a server, no process lives on, no file is left."""
        for vm in self.vms.values():
            assert {method for method, _ in vm.fake.requests} <= {"GET"}
        assert not [process for process in psutil.process_iter() if self._is_ours(process)]
        left = [path for name in ("home", "tmp", "work") for path in (self.root / name).rglob("*")]
        cached = re.compile(r"home/\.cache/dx-fleet/ansible-routing-[0-9a-f]{64}\.json")
        files = [str(path.relative_to(self.root)) for path in left if not path.is_dir()]
        assert [file for file in files if not cached.fullmatch(file)] == []
        assert not list((self.root / "tmp").iterdir())
        assert not list((self.root / "home").glob(".ansible/tmp/*"))

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("DX_TEST_MARK") == self._mark
        except (psutil.Error, OSError):
            return False


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    with ExitStack() as stack:
        yield Controller(tmp_path, stack)
