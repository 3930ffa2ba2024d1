# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: ``lab``, started for the session when the first test wants it; ``model``, cleared per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .lab import Lab
from .scripted_model import ScriptedModel

__all__ = ["lab", "model"]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The running fleet."""
    with Lab() as running:
        yield running


@pytest.fixture
def model(lab: Lab) -> ScriptedModel:
    """The lab's scripted model, with nothing recorded yet."""
    lab.model.clear()
    return lab.model
