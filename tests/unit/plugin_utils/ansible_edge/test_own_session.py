# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that outlives the process which asked for it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.own_session import apart

from tests.unit.forking import fork


def test_its_result_comes_back() -> None:
    def work() -> dict[str, Any]:
        return {"pid": os.getpid(), "text": "Grüße " * 100_000}

    found = apart(work)
    assert found["pid"] != os.getpid()
    assert len(found["text"]) == 600_000


def test_what_it_raises_comes_back_in_words() -> None:
    def work() -> dict[str, Any]:
        raise OSError(37, "No locks available")

    with pytest.raises(RuntimeError, match=r"OSError: .+No locks available"):
        apart(work)


def test_a_result_that_is_no_json_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="died"):
        apart(lambda: {"x": object()})


def test_its_death_is_an_error() -> None:
    def work() -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    with pytest.raises(RuntimeError, match=r"died \(-9\)"):
        apart(work)


@pytest.mark.parametrize("whom", ["the process", "its group"])
def test_who_asked_may_be_killed_and_it_is_done(tmp_path: Path, whom: str) -> None:
    begun, asker_is_gone, done = (tmp_path / name for name in ("begun", "gone", "done"))

    def work() -> dict[str, Any]:
        begun.touch()
        deadline = time.monotonic() + 30
        while not asker_is_gone.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        done.touch()
        return {}

    asker = fork()
    if asker == 0:
        os.setpgid(0, 0)
        apart(work)
        os._exit(0)
    _wait_for(begun)
    if whom == "the process":
        os.kill(asker, signal.SIGKILL)
    else:
        os.killpg(asker, signal.SIGKILL)
    os.waitpid(asker, 0)
    asker_is_gone.touch()
    _wait_for(done)


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline, f"{file.name} never came"
        time.sleep(0.01)
