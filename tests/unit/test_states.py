# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of a dispatch and their exit codes are the same in README, help and documentation."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping

import pytest
import yaml
from ansible_collections.dx.fleet.plugins.filter.summary import summary
from ansible_collections.dx.fleet.plugins.modules import opencode_wait
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import SessionSeen
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import Liveness
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.reaping import decide
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.dispatch_options import HELP_EXAMPLES
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.terminal import summary_lines
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import (
    EXIT_CODES,
    MEANINGS,
    ExitCode,
    Outcome,
    State,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress_wording import words_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import end_of
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.turn import Verdict

from tests.command import CHECKOUT

NOT_FINAL = {State.PLANNED, State.RUNNING}
NOT_OF_A_WAIT = {State.VERIFIED, State.UNVERIFIED, State.REFUSED}
"""A wait checks no work, and what it waits for was sent."""


def test_every_final_state_has_a_meaning_and_every_exit_code_too() -> None:
    assert set(MEANINGS) == set(State) - NOT_FINAL
    assert set(EXIT_CODES) == set(ExitCode)


def test_the_readme_has_the_table() -> None:
    rows = [
        line
        for line in (CHECKOUT / "README.md").read_text().splitlines()
        if re.match(r"\| `[a-z_]+` \|", line)
    ]
    states = [row for row in rows if row.split("`")[1] in set(State)]
    assert states == [f"| `{state}` | {MEANINGS[state]} | {ExitCode.of(state):d} |" for state in MEANINGS]


def test_the_help_has_every_exit_code() -> None:
    told = dict(
        re.findall(r"(?:^|   ?)(\d+) (.+?)(?=   |$)", HELP_EXAMPLES.split("exit codes:")[1], re.MULTILINE)
    )
    assert told == {str(int(code)): meaning for code, meaning in EXIT_CODES.items()}


def test_the_documentation_of_a_wait_names_the_states_that_it_returns() -> None:
    outcome = yaml.safe_load(opencode_wait.RETURN)["outcome"]
    told = " ".join(outcome["contains"]["state"]["description"])
    assert set(re.findall(r"V\((\w+)\)", told)) == set(State) - NOT_FINAL - NOT_OF_A_WAIT


_COMPLETED = Outcome(State.COMPLETED, "completed", "the agent wrote: ok", vm="epyc6")
_CLAIM = {"dispatch": "bd-1@1", "session": "ses_1", "vm": "epyc6", "status": "in_progress", "held_s": 900}
_IDLE = SessionSeen("idle", verdict=Verdict(State.COMPLETED, "completed", "the agent wrote: ok"))

SHOWN_BY: Mapping[str, Callable[[], str]] = {
    "the terminal at the end": lambda: summary_lines(_COMPLETED, io.StringIO())[0],
    "the terminal in between": lambda: words_of(
        ProgressEvent("epyc6", EventKind.COMPLETED, "ses_1", {"message": "the agent wrote: ok"})
    ),
    "the playbook": lambda: summary([{"outcome": _COMPLETED.as_dict()}]),
    "the bead": lambda: end_of(_COMPLETED.as_dict(), sent=True, begun_now=True).reason,
    "the reap": lambda: decide(_CLAIM, _IDLE, life=Liveness.GONE, ttl_s=600).found,
}


@pytest.mark.parametrize("shown", SHOWN_BY.values(), ids=SHOWN_BY)
def test_the_agents_word_is_shown_as_what_it_is(shown: Callable[[], str]) -> None:
    assert "finished, not verified: the agent wrote: ok" in shown()
    assert "completed" not in shown()
