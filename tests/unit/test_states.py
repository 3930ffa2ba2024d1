# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of a dispatch and their exit codes are the same in README, help and documentation."""

from __future__ import annotations

import re

import yaml
from ansible_collections.dx.fleet.plugins.modules import opencode_wait
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.dispatch_options import HELP_EXAMPLES
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import (
    EXIT_CODES,
    MEANINGS,
    ExitCode,
    State,
)

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
