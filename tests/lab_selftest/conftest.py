# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the lab's own tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab_selftest.sessions import Sessions


def pytest_configure(config: pytest.Config) -> None:
    """Have the lab's fixtures, once, also when nothing but these tests is run."""
    config.pluginmanager.import_plugin("tests.lab.pytest_plugin")


@pytest.fixture
def sessions(lab: Lab) -> Iterator[Sessions]:
    """Makes sessions on epyc6 in its clone of affordabot, and ends what they still do."""
    with Sessions(lab.vms["epyc6"]) as made:
        yield made
