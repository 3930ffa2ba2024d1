# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits of which only events, or only looks, bring anything about."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import pace

from .watched import LONG_S, Watched


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Looks are far apart, so that only events bring them about; the other times are short."""
    monkeypatch.setattr(pace, "LOOK_EVERY_S", LONG_S)
    monkeypatch.setattr(pace, "DEAF_S", 0.0)
    monkeypatch.setattr(pace, "COUNT_EVERY_S", 0.02)
    monkeypatch.setattr(pace, "COUNTS_PER_SECOND", 100)
    monkeypatch.setattr(pace, "LOOKS_PER_SECOND", 1000)
    return Watched()


@pytest.fixture
def deaf(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """There is no event stream at all; looks are close together."""
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 0.02)
    watched.fake.accepts_streams = False
    return watched
