# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the process that dispatched still lives, as far as that can be seen from here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.beads import dispatcher
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import (
    Liveness,
    liveness_of,
    this_dispatcher,
)


def named(**parts: str) -> str:
    host, system, pid, began = this_dispatcher().rsplit("/", 3)
    known = {"host": host, "system": system, "pid": pid, "began": began} | parts
    return "/".join(known.values())


def test_this_process_lives() -> None:
    assert liveness_of(this_dispatcher()) is Liveness.ALIVE
    assert f"/{os.getpid()}/" in this_dispatcher()


def test_a_process_that_ended_is_gone_also_while_nobody_has_reaped_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = named(pid=str(child.pid), began=str(dispatcher._began(child.pid)))
    assert liveness_of(name) is Liveness.ALIVE
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and a zombie
    assert liveness_of(name) is Liveness.GONE
    child.communicate()
    assert liveness_of(name) is Liveness.GONE


def test_a_process_id_that_was_used_again_is_not_it() -> None:
    assert liveness_of(named(began="1")) is Liveness.GONE


def test_a_process_of_another_boot_or_container_cannot_be_seen() -> None:
    assert liveness_of(named(system="0123456789ab")) is Liveness.UNSEEN


def test_the_name_of_the_host_may_change() -> None:
    assert liveness_of(named(host="renamed/with a slash")) is Liveness.ALIVE


@pytest.mark.parametrize("name", [None, "", "x", "a/b/c", "////"])
def test_a_name_that_is_none_says_nothing(name: str | None) -> None:
    assert liveness_of(name) is Liveness.UNSEEN


@pytest.mark.parametrize(
    "part", [{"pid": pid} for pid in ("0", "-1", "x", "9" * 5000, "\u0661")] + [{"began": "unknown"}]
)
def test_a_part_that_is_none_says_nothing(part: dict[str, str]) -> None:
    assert liveness_of(named(**part)) is Liveness.UNSEEN


def test_a_process_that_is_hidden_from_us_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another user, where /proc is mounted with hidepid."""
    here = this_dispatcher()
    read_text = dispatcher.Path.read_text

    def hidden(path: dispatcher.Path, *args: object, **options: object) -> str:
        if path.name == "stat":
            raise FileNotFoundError(path)
        return read_text(path)

    def forbidden(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(dispatcher.Path, "read_text", hidden)
    monkeypatch.setattr(dispatcher.os, "kill", forbidden)
    assert liveness_of(here) is Liveness.UNSEEN


def test_a_time_is_asked_for_in_words_that_depend_on_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert dispatcher._said_by("sh", "-c", "echo $LC_ALL $TZ") == "C UTC"
    assert dispatcher._said_by("no-such-program") == ""
