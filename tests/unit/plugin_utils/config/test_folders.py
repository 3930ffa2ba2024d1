# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of the sockets: where the system says, unless their paths would be too long for the system."""

from __future__ import annotations

import os

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.config.folders import runtime_folder

OWN = f"/tmp/dx-{os.getuid()}"


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        ("/run/user/1000", "/run/user/1000/dx"),
        (None, OWN),
        ("", OWN),
        ("run/user/1000", OWN),
        ("/" + "r" * 60, "/" + "r" * 60 + "/dx"),
        ("/" + "r" * 61, OWN),
        ("/" + "ü" * 31, OWN),
    ],
)
def test_sockets_have_a_short_path(variable: str | None, folder: str) -> None:
    environ = {} if variable is None else {"XDG_RUNTIME_DIR": variable}
    found = str(runtime_folder(environ))
    assert found == folder
    assert len(os.fsencode(found)) + len("/0123456789abcdef.sock") + len(".0123456789abcdef") <= 103
