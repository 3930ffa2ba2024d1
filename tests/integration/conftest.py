# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the integration tests: the fleet, and ways to spoil what lies between it and a dispatcher."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.proxy import FaultProxy
from tests.lab.tracker import Tracker

from .controller import controller  # noqa: F401 - a fixture
from .desk import listeners  # noqa: F401 - a fixture
from .fleet import Fleet, read_fleet, stop_all_work

_NEEDS_LAB = (
    "needs the lab (its scripted model, its servers' lives, or a proxy before them); not with --fleet"
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--fleet``, leave out by name what only the lab can do."""
    if config.getoption("--fleet") is None:
        return
    for item in items:
        if Path(__file__).parent in item.path.parents and "lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=_NEEDS_LAB))


@pytest.fixture(scope="session")
def whole_fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """The live fleet of ``--fleet``, else the lab's."""
    chosen: Path | None = request.config.getoption("--fleet")
    if chosen is None:
        lab: Lab = request.getfixturevalue("lab")
        return read_fleet(lab.inventory, lab.env)
    words = ("--inventory", str(chosen.resolve()))
    repo = request.config.getoption("--fleet-repo")
    return read_fleet(chosen.resolve(), {"SLACK_AUDIT": "false"}, repo=repo, arguments=words)


@pytest.fixture
def fleet(whole_fleet: Fleet) -> Iterator[Fleet]:
    """The fleet under test. What a test started and did not wait for is ended with it."""
    yield whole_fleet
    whole_fleet.kill_started()


@pytest.fixture(scope="session")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """A Beads workspace for all tests of the run."""
    return Tracker.make(tmp_path_factory.mktemp("tracker") / "workspace")


@pytest.fixture
def bead_fleet(lab: Lab, fleet: Fleet, tracker: Tracker, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """The fleet for a person who works with that workspace. It needs the lab: agents write what they are told.

    It is for tests of claims: the agent works in the clone, and its word closes the bead.
    """
    working = replace(fleet, env={**fleet.env, **tracker.env})
    folder = tmp_path_factory.mktemp("endpoints")
    return working.with_policy(folder, worktree="never", close_on="completed")


@pytest.fixture
def idle_before(lab: Lab, fleet: Fleet) -> None:
    """No session that another test left works in a clone of affordabot."""
    stop_all_work(lab, fleet)


@pytest.fixture
def idle_afterwards(lab: Lab, fleet: Fleet) -> Iterator[None]:
    """Every session in a clone of affordabot that still works is stopped."""
    yield
    stop_all_work(lab, fleet)


@pytest.fixture
def proxy(lab: Lab) -> Iterator[FaultProxy]:
    """A proxy before epyc6 that spoils nothing yet."""
    with FaultProxy(lab.vms["epyc6"].url) as between:
        yield between


@pytest.fixture
def fleet_behind(fleet: Fleet, proxy: FaultProxy, tmp_path: Path) -> Fleet:
    """The fleet for a person to whom the proxy is epyc6."""
    return fleet.seen_at(tmp_path, epyc6=proxy.url)
