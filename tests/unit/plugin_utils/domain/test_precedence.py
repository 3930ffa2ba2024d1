# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which value wins in each step of the flow: one row per combination of where values can come from."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.dx.fleet.plugins.module_utils import specs
from ansible_collections.dx.fleet.plugins.plugin_utils.domain import precedence
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.precedence import (
    claim_options,
    dispatch_options,
    follow_options,
    last_outcome,
    returned,
)

PLAN = {"id": "01PLAN", "directory": "/srv/plan", "session": "ses_plan", "outcome": {"state": "planned"}}
CLAIM = {
    "dispatch": "bd-1@2",
    "task": "Fix it",
    "worktree": "/srv/claim",
    "session": "ses_claim",
    "continued": False,
}
RESUMING = {**CLAIM, "resumes": "ses_old", "continued": True}


def options_of(spec: dict[str, Any], **given: Any) -> dict[str, Any]:
    """All options of a module, with their defaults."""
    found = ArgumentSpecValidator(spec).validate(given)
    assert not found.error_messages, found.error_messages
    return dict(found.validated_parameters)


def dispatched(*, looking: bool = False, **given: Any) -> dict[str, Any]:
    return dispatch_options(options_of(specs.DISPATCH, **given), "epyc6", looking=looking)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, None),
        ({"id": "d1"}, "d1"),
        ({"id": "d1", "target": "epyc6"}, "d1"),
        ({"id": "d1", "target": "big", "aliases": ["big"]}, "d1"),
        ({"id": "d1", "target": "opencode", "aliases": ["big"]}, "d1.epyc6"),
        ({"id": "d1", "target": "epyc6:macmini"}, "d1.epyc6"),
        ({"id": ""}, ""),
        ({"id": "d1", "plan": PLAN}, "01PLAN"),
        ({"plan": PLAN, "claim": CLAIM}, "bd-1@2"),
        ({"id": "d1", "claim": CLAIM}, "bd-1@2"),
        ({"plan": {**PLAN, "failed": True}}, None),
        ({"claim": {**CLAIM, "failed": True}, "plan": PLAN}, "01PLAN"),
        ({"claim": {"skipped": True}, "plan": PLAN}, "01PLAN"),
    ],
)
def test_what_a_dispatch_is_called(given: dict[str, Any], name: str | None) -> None:
    assert dispatched(**given)["id"] == name


@pytest.mark.parametrize(
    ("given", "looking", "task"),
    [
        ({"task": "mine"}, False, "mine"),
        ({"task": "mine", "claim": CLAIM}, False, "mine"),
        ({"task": "", "claim": CLAIM}, False, ""),
        ({"claim": CLAIM}, False, "Fix it"),
        ({"claim": CLAIM, "bead": "bd-1"}, True, "Fix it"),
        ({"bead": "bd-1"}, True, "Work on bd-1"),
        ({"bead": "bd-1"}, False, None),
        ({}, True, None),
    ],
)
def test_the_task(given: dict[str, Any], looking: bool, task: str | None) -> None:
    assert dispatched(looking=looking, **given)["task"] == task


@pytest.mark.parametrize(
    ("given", "session"),
    [
        ({}, None),
        ({"session": "ses_mine"}, "ses_mine"),
        ({"session": "ses_mine", "plan": PLAN}, "ses_mine"),
        ({"session": "ses_mine", "claim": CLAIM}, None),
        ({"claim": RESUMING}, "ses_old"),
        ({"session": "ses_mine", "claim": RESUMING}, "ses_old"),
    ],
)
def test_the_session_to_continue(given: dict[str, Any], session: str | None) -> None:
    assert dispatched(**given)["session"] == session


@pytest.mark.parametrize(
    ("given", "directory"),
    [
        ({}, None),
        ({"directory": "/srv/mine"}, "/srv/mine"),
        ({"directory": "~/mine", "plan": PLAN}, "/srv/plan"),
        ({"plan": PLAN, "claim": CLAIM}, "/srv/claim"),
        ({"plan": PLAN, "claim": {"dispatch": "bd-1@2"}}, "/srv/plan"),
        ({"directory": "/srv/mine", "plan": {}, "claim": {}}, "/srv/mine"),
    ],
)
def test_the_directory(given: dict[str, Any], directory: str | None) -> None:
    assert dispatched(**given)["directory"] == directory


@pytest.mark.parametrize(
    ("given", "join"),
    [({}, False), ({"join": True}, True), ({"claim": CLAIM}, False), ({"claim": RESUMING}, True)],
)
def test_a_claim_that_goes_on_follows_what_was_sent(given: dict[str, Any], join: bool) -> None:
    assert dispatched(**given)["join"] is join


@pytest.mark.parametrize(
    ("request_", "options"),
    [
        ({}, {}),
        (
            {"repo": "a", "task": "t", "id": "d1", "target": "opencode"},
            {"repo": "a", "task": "t", "id": "d1", "target": "opencode"},
        ),
        ({"repo": "a", "bead": "bd-1", "id": "d1"}, {"repo": "a", "bead": "bd-1"}),
        ({"timeout": 5, "retry": True, "no_wait": False}, {"no_wait": False}),
    ],
)
def test_what_a_run_asks_of_a_dispatch(request_: dict[str, Any], options: dict[str, Any]) -> None:
    assert precedence.of_request_for_dispatch(request_) == options


@pytest.mark.parametrize(
    ("request_", "options"),
    [
        ({}, {}),
        ({"bead": "bd-1"}, {"bead": "bd-1", "dispatch": None, "begin": False}),
        (
            {"bead": "bd-1", "repo": "a"},
            {"bead": "bd-1", "repo": "a", "dispatch": None, "begin": True},
        ),
        (
            {"bead": "bd-1", "session": "ses_1"},
            {"bead": "bd-1", "session": "ses_1", "dispatch": None, "begin": True},
        ),
        (
            {"bead": "bd-1", "directory": "/a", "id": "d1", "retry": True, "timeout": 5},
            {"bead": "bd-1", "dispatch": "d1", "begin": True, "retry": True},
        ),
    ],
)
def test_what_a_run_asks_of_a_claim(request_: dict[str, Any], options: dict[str, Any]) -> None:
    assert precedence.of_request_for_claim(request_) == options


def test_the_time_limit_of_a_run_is_that_of_the_wait() -> None:
    assert precedence.of_request_for_wait({"timeout": 5, "repo": "a"}) == {"timeout": 5}


@pytest.mark.parametrize(
    ("given", "dispatch", "worktree"),
    [
        ({}, None, None),
        ({"dispatch": "d1", "worktree": "/mine", "plan": PLAN}, "d1", "/mine"),
        ({"plan": PLAN}, None, "/srv/plan"),
        ({"plan": {**PLAN, "failed": True}}, None, None),
        ({"dispatch": "d1", "claim": CLAIM}, "bd-1@2", None),
    ],
)
def test_a_claim_names_its_dispatch_and_where_it_works(
    given: dict[str, Any], dispatch: str | None, worktree: str | None
) -> None:
    found = claim_options(options_of(specs.CLAIM, bead="bd-1", state="present", **given))
    assert (found["dispatch"], found["worktree"]) == (dispatch, worktree)


SENT = {
    "id": "d1",
    "session": "ses_1",
    "message": "msg_1",
    "directory": "/srv/a",
    "outcome": {"repo": "affordabot", "bead": "bd-1"},
}


@pytest.mark.parametrize(
    ("given", "followed"),
    [
        ({"sent": SENT}, ("ses_1", "msg_1", "d1", "/srv/a", "affordabot", "bd-1")),
        (
            {"sent": SENT, "session": "ses_2", "repo": "b"},
            ("ses_2", "msg_1", "d1", "/srv/a", "b", "bd-1"),
        ),
        ({"sent": {**SENT, "failed": True}}, (None,) * 6),
        ({"session": "ses_2"}, ("ses_2", None, None, None, None, None)),
    ],
)
def test_what_is_followed_is_what_was_sent(given: dict[str, Any], followed: tuple[str | None, ...]) -> None:
    found = follow_options(options_of(specs.WAIT, **given))
    names = ("session", "message_id", "id", "directory", "repo", "bead")
    assert tuple(found[name] for name in names) == followed


@pytest.mark.parametrize(
    "step",
    [None, {}, {"skipped": True}, {"failed": True, "id": "d1"}, {"unreachable": True, "id": "d1"}],
)
def test_a_step_that_did_not_end_well_hands_nothing_on(step: dict[str, Any] | None) -> None:
    assert returned(step) == {}


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([], None),
        ([{}, {"skipped": True}], None),
        ([{"outcome": {"state": "planned"}}, {}], "planned"),
        ([{"outcome": {"state": "planned"}}, {"failed": True, "outcome": {"state": "refused"}}], "refused"),
        ([{"outcome": {"state": "running"}}, {"outcome": {"state": "failed"}}, {"skipped": True}], "failed"),
        ([{"outcome": {"state": "running"}}, {"outcome": None}, {"outcome": {}}], "running"),
    ],
)
def test_the_outcome_is_that_of_the_last_step_that_has_one(
    steps: list[dict[str, Any]], state: str | None
) -> None:
    assert last_outcome(*steps).get("state") == state


def test_a_new_try_learns_what_became_of_the_one_before() -> None:
    claim = {"dispatch": "bd-1@2-a", "task": "Fix it", "history": "This is attempt 2."}
    given = {"bead": "bd-1", "target": None, "aliases": [], "plan": None, "id": None, "join": False}
    given |= {"session": None, "directory": None, "claim": claim}
    for task, wanted in ((None, "Fix it"), ("on branch b", "on branch b")):
        found = dispatch_options({**given, "task": task}, "epyc6", looking=False)
        assert found["task"] == f"{wanted}\n\nThis is attempt 2."
    alone = {**given, "claim": {**claim, "history": None}, "task": None}
    assert dispatch_options(alone, "epyc6", looking=False)["task"] == "Fix it"
