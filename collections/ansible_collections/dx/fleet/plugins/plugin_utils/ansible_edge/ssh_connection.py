# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `ssh` command with which Ansible reaches a host: its options, its ControlPath, so its connection."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader

from ..opencode.forward import SshConnection

__all__ = ["command_of", "is_by_ssh", "ssh_connection"]

_NAMES = ("ssh", "smart", "ansible.builtin.ssh")
_PERSIST_S = 300


def is_by_ssh(variables: Mapping[str, Any]) -> bool:
    """Whether Ansible reaches the host of these variables by its SSH connection plugin."""
    return variables.get("ansible_connection", constants.DEFAULT_TRANSPORT) in _NAMES


def ssh_connection(variables: Mapping[str, Any], folder: Path) -> SshConnection:
    """How `ssh` reaches a host.

    Args:
        variables: The host's, templated. Settings of ansible.cfg, the environment and the command line hold
            as they do for Ansible's own connection.
        folder: For the socket of the connection, where Ansible's settings keep none open.
    """
    connection = connection_loader.get("ssh", PlayContext())
    known = constants.config.get_plugin_vars("connection", "ssh")
    own = {name: variables[name] for name in known if variables.get(name) is not None}
    connection.set_options(var_options=own)
    option = connection.get_option
    host, user, port = option("host"), option("remote_user"), option("port")
    name = hashlib.sha256(f"{user}@{host}:{port}".encode()).hexdigest()[:16]
    ours = {"ControlMaster": "auto", "ControlPersist": _PERSIST_S, "ControlPath": folder / name}
    return SshConnection(
        # Of an option that is given twice, ssh takes the first.
        command=(*_words_of(connection), *_options(ours)),
        host=str(host),
        login=shlex.join([*(["-p", str(port)] if port else []), f"{user}@{host}" if user else str(host)]),
    )


def command_of(connection: Any) -> tuple[str, ...]:
    """`ssh` with every option of a connection of Ansible's, and its host. It asks nobody for anything."""
    return (*_words_of(connection), "-o", "BatchMode=yes", str(connection.get_option("host")))


def _words_of(connection: Any) -> tuple[str, ...]:
    # Not a public one, but what Ansible itself runs; the same from 2.9 to 2.21.
    words = connection._build_command(connection.get_option("ssh_executable"), "ssh")
    return tuple(word.decode() for word in words)


def _options(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(word for name, value in values.items() for word in ("-o", f"{name}={value}"))
