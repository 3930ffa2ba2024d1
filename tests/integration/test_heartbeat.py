# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatcher whose process can't be seen (here: in a container of its own) is judged by its heartbeat."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tests.command import environment
from tests.lab import Lab, ScriptedModel
from tests.lab.tracker import Tracker

from .fleet import Fleet

APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_be_apart() -> bool:
    try:
        return subprocess.run([*APART, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_be_apart(), reason="needs a space of process ids of its own: unshare, as root")
def test_a_living_dispatcher_is_never_taken_over_and_a_dead_one_soon_is(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("@silent 45\n@say the same work", "heartbeat")
    entry = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import main; main()"
    words = ["epyc6", "affordabot", "--bead", bead, "--json"]
    hidden = subprocess.Popen(
        [*APART, sys.executable, "-c", entry, *words],
        env=environment(bead_fleet.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    other = replace(bead_fleet, env={**bead_fleet.env, "DX_ORCHESTRATOR": "antigravity@home"})
    try:
        while "dispatcher" not in tracker.metadata(bead):
            assert hidden.poll() is None
            time.sleep(0.1)  # the tracker has no event for it
        session = tracker.metadata(bead)["session"]
        while not bead_fleet["epyc6"].has(session) or "dx_heartbeat" not in bead_fleet["epyc6"].session(
            session
        ).get("metadata", {}):
            assert hidden.poll() is None
            time.sleep(0.1)
        refused = other.dispatch("epyc6", "affordabot", "--bead", bead)
        assert (refused.code, refused.result()["reason_code"]) == (4, "already_claimed"), refused
    finally:
        hidden.kill()
        hidden.wait()
    began = time.monotonic()
    done = other.dispatch("epyc6", "affordabot", "--bead", bead)
    assert done.result()["state"] == "completed", done.out
    assert tracker.metadata(bead)["taken_from"] != "antigravity@home"
    assert len(model.prompts("heartbeat")) == 1
    assert time.monotonic() - began < 120
