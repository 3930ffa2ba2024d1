# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits of which only events, or only looks, bring anything about."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions import wait
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import server_watch

from .watched import LONG_S, Watched


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Looks are far apart, so that only events bring them about; the other times are short."""
    monkeypatch.setattr(server_watch, "LOOK_EVERY_S", LONG_S)
    monkeypatch.setattr(server_watch, "DEAF_S", 0.0)
    monkeypatch.setattr(server_watch, "COUNT_EVERY_S", 0.02)
    monkeypatch.setattr(server_watch, "COUNTS_PER_SECOND", 100)
    monkeypatch.setattr(server_watch, "LOOKS_PER_SECOND", 1000)
    monkeypatch.setattr(server_watch, "ABORT_S", 0.3)
    watched = Watched()
    watched.clock.rule(monkeypatch, wait, server_watch)
    return watched


@pytest.fixture
def deaf(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """There is no event stream at all; looks are close together."""
    monkeypatch.setattr(server_watch, "LOOK_EVERY_S", 0.02)
    watched.fake.accepts_streams = False
    return watched
