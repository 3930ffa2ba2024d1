# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Continuing a session: its history is kept, and what is not meant is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab, ScriptedModel

from .fleet import Fleet

ANY = "Say the word pineapple and nothing else. Use no tool and change nothing."


@pytest.fixture
def busy_session(fleet: Fleet, lab: Lab) -> Iterator[str]:
    """A session of epyc6 in affordabot that works till the end of the test."""
    session = fleet.dispatch("epyc6", "affordabot", "@silent", "--no-wait").result()["session"]
    yield session
    fleet["epyc6"].ask("POST", f"/session/{session}/abort")


def test_a_resumed_session_gets_the_next_task_after_the_first(fleet: Fleet) -> None:
    vm = fleet.default
    first = fleet.dispatch(vm, fleet.repo, ANY).result()
    second = fleet.dispatch(vm, fleet.repo, f"{ANY} Once more.", "--session", first["session"]).result()
    assert (second["state"], second["session"]) == ("completed", first["session"])
    assert (second["dispatch"] != first["dispatch"], second["message"] != first["message"]) == (True, True)
    assert fleet[vm].prompts(first["session"]) == [[ANY], [f"{ANY} Once more."]]


def test_a_resumed_session_knows_what_was_said(fleet: Fleet, model: ScriptedModel) -> None:
    first = fleet.dispatch("epyc6", "affordabot", "The word is plum.").result()
    second = fleet.dispatch("epyc6", "affordabot", "@recall", "--session", first["session"]).result()
    assert second["evidence"]["text"] == "Said before:\n1. The word is plum."
    assert second["evidence"]["steps"] == 1  # evidence is of this turn alone


def test_a_session_of_another_repo_is_refused(fleet: Fleet, model: ScriptedModel) -> None:
    first = fleet.dispatch("epyc6", "affordabot", "@say first").result()
    completed = fleet.dispatch("epyc6", "prime-radiant", "@say second", "--session", first["session"])
    refused = completed.result()
    assert (completed.code, refused["state"], refused["reason_code"]) == (4, "refused", "session_elsewhere")
    assert "affordabot" in refused["message_to_human"]
    assert model.prompts("second") == []


def test_a_busy_session_is_refused(fleet: Fleet, model: ScriptedModel, busy_session: str) -> None:
    model.wait_for_prompt("@silent")
    completed = fleet.dispatch("epyc6", "affordabot", "@say in between", "--session", busy_session)
    refused = completed.result()
    assert (completed.code, refused["state"], refused["reason_code"]) == (4, "refused", "session_busy")
    assert fleet["epyc6"].prompts(busy_session) == [["@silent"]]


@pytest.mark.parametrize("session", ["ses_doesnotexist", "nonsense", "../x?y"])
def test_an_unknown_session_is_said(fleet: Fleet, session: str) -> None:
    before = fleet[fleet.default].sessions()
    completed = fleet.dispatch(fleet.default, fleet.repo, ANY, "--session", session)
    assert (completed.code, completed.result()["reason_code"]) == (4, "unknown_session")
    assert fleet[fleet.default].sessions() == before


def test_a_session_is_unknown_to_the_other_vms(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    session = fleet.dispatch("epyc6", "affordabot", "@say on epyc6").result()["session"]
    completed = fleet.dispatch("macmini", "affordabot", "@say on macmini", "--session", session)
    assert (completed.code, completed.result()["reason_code"]) == (4, "unknown_session")
    assert model.prompts("on macmini") == []
