# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that is begun on a VM by Ansible's own SSH connection, and where it is not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import pytest_asyncio
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.begun_python import begun_python

from tests.lab.ssh_server import SshFiles, SshServer, find_sshd
from tests.wait import wait_for

pytestmark = pytest.mark.skipif(
    find_sshd() is None, reason="needs OpenSSH's sshd: apt-get install openssh-server"
)

HOST = "127.0.0.1"
MODULE = "dx.fleet.work_processes"


class Task:
    """A task on a VM with an sshd."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self.variables = {
            "ansible_connection": "ssh",
            "ansible_python_interpreter": sys.executable,
        } | variables
        self._connection = connection_loader.get(self.variables["ansible_connection"], PlayContext())
        self._connection.set_options(var_options=self.variables)
        self._connection.become = None
        self._task = SimpleNamespace(check_mode=False)
        self._templar = SimpleNamespace(template=lambda value: value)

    def _compute_environment_string(self) -> str:
        return "DX_X='a b'"

    def look(self, directory: Path) -> dict[str, Any] | None:
        given: Any = self
        with begun_python(given, MODULE, self.variables) as python:
            return None if python is None else python.result_of({"directory": str(directory)})


@pytest_asyncio.fixture
async def variables(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    folder = tmp_path / "s"
    folder.mkdir()
    files = SshFiles(folder / "ssh")
    files.make()
    probe = await asyncio.start_server(lambda reader, writer: None, HOST, 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    sshd = find_sshd()
    assert sshd is not None
    server = SshServer("vm", (HOST, port), sshd, files, {"HOME": str(folder)})
    await server.start()
    yield {
        "ansible_host": HOST,
        "ansible_port": server.port,
        "ansible_ssh_common_args": f"-F {files.config}",
        "ansible_ssh_args": "-o ControlMaster=no",
    }
    server.stop()


def test_it_is_begun_there_and_ends_with_the_connection(variables: dict[str, Any], tmp_path: Path) -> None:
    found = Task(variables).look(tmp_path)
    assert found is not None
    assert found["directory"] == str(tmp_path)
    assert found["processes"] == []
    wait_for(
        lambda: not [each for each in psutil.Process().children() if each.name() == "ssh" and _runs(each)]
    )


def _runs(process: psutil.Process) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("changed", "environ"),
    [
        ({"ansible_connection": "local"}, {}),
        ({"ansible_python_interpreter": "auto_silent"}, {}),
        ({"ansible_python_interpreter": "/no/python"}, {}),
        ({"ansible_port": 1}, {}),
        ({"ansible_ssh_executable": "/no/ssh"}, {}),
        ({}, {"DX_FAST_START": "0"}),
    ],
    ids=["not by SSH", "a Python that is to be found", "no Python", "not reached", "no ssh", "turned off"],
)
def test_where_it_does_not_fit_it_is_not_begun(
    variables: dict[str, Any],
    changed: dict[str, Any],
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert Task(variables | changed).look(tmp_path) is None
