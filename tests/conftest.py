# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by all tests: the lab, and the fleet that the integration tests run against."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.tracker import bd_in_use

pytest_plugins = ["tests.lab.pytest_plugin"]

_UNIT = Path(__file__).with_name("unit")

# A shell starts a script's background job (`make test &`) with SIGINT ignored, nohup with SIGHUP ignored, and so
# would be all that a test starts, which then could not be interrupted or hung up on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """What a test sets for a signal, the code under test included, does not outlive it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each file goes to one worker, in this order: the short ones last, so that all workers end at the same time."""
    items.sort(key=lambda item: _UNIT in item.path.parents and item.path.parent != _UNIT)


def pytest_report_header() -> str:
    """Which `bd` the run uses."""
    return bd_in_use()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--fleet``: a live fleet in the lab's place."""
    parser.addoption(
        "--fleet",
        type=Path,
        metavar="FILE",
        help="run tests/integration against the fleet of this inventory source or vm-endpoints file, with"
        " real agents at its expense, instead of the lab",
    )
    parser.addoption(
        "--fleet-repo",
        default="affordabot",
        metavar="NAME",
        help="with --fleet: the repo that every VM has (default: %(default)s); it is not changed",
    )
