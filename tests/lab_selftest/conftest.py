# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the lab's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab_selftest.sessions import Sessions

STANDIN = Path(__file__).with_name("standin_opencode.py")


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The labs that a test starts have a server in OpenCode's place, which starts in a tenth of the time."""
    monkeypatch.setenv("DX_TEST_OPENCODE", str(STANDIN))


@pytest.fixture
def sessions(lab: Lab) -> Iterator[Sessions]:
    """Makes sessions on epyc6 in its clone of affordabot, and ends what they still do."""
    with Sessions(lab.vms["epyc6"]) as made:
        yield made
