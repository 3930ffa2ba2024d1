# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which steps a run has, and what its report says where it broke off."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.commands import dispatch as dispatching
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.report import outcomes_of
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.targets import targets_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain import identity
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import VM, Fleet, RepoPolicy
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.collected import Collected

from tests.unit.plugin_utils.cli.typed import typed

FLEET = Fleet((VM("epyc6", "http://epyc6:4105"),), default_vm="epyc6")


@pytest.mark.parametrize(
    ("words", "name", "dispatch", "session", "again"),
    [
        (
            ["epyc6", "affordabot", "x"],
            "job",
            "job",
            identity.session_id("job"),
            "dx-dispatch --id job -- epyc6 affordabot x",
        ),
        (
            ["--all", "affordabot", "x"],
            "job",
            "job.epyc6",
            identity.session_id("job.epyc6"),
            "dx-dispatch --id job.epyc6 -- epyc6 affordabot x",
        ),
        (
            ["epyc6", "x", "--session", "ses_1"],
            "job",
            "job",
            "ses_1",
            "dx-dispatch --id job --session ses_1 -- epyc6 x",
        ),
        (["epyc6", "affordabot", "--bead", "bd-1"], None, None, None, "dx-dispatch --bead bd-1"),
    ],
)
def test_a_run_that_broke_off_names_what_it_may_have_begun(
    words: list[str], name: str | None, dispatch: str | None, session: str | None, again: str
) -> None:
    (outcome,) = outcomes_of(["epyc6"], Collected(faults={"epyc6": "no memory"}), "again")
    options = typed(*words)
    targets = targets_of(options, FLEET)
    run = dispatching._Run(
        dispatching._asked(options, targets, targets.task, name), targets, options.all, name
    )
    found = dispatching._finished(outcome, options, run)
    assert (found.reason_code, found.dispatch, found.session) == ("own_fault", dispatch, session)
    assert found.next_action == again
    assert found.message == (None if dispatch is None else identity.message_id(dispatch))


@pytest.mark.parametrize(
    ("words", "verifies"),
    [
        (["epyc6", "affordabot", "x"], True),
        (["epyc6", "other", "x"], False),
        (["epyc6", "other", "x", "--verify", "make test"], True),
        (["epyc6", "affordabot", "x", "--no-verify"], False),
        (["epyc6", "x", "--session", "ses_1"], False),
        (["epyc6", "affordabot", "--bead", "bd-1"], True),
        (["--bead", "bd-1"], True),
        (["--retry", "bd-1"], True),
        (["--retry", "bd-1", "Keep it"], True),
        (["--retry", "bd-1", "--branch", "feature-xyz", "Keep it"], True),
        (["--retry", "bd-1", "--same-session", "--", "Keep it"], True),
        (["--id", "job"], True),
    ],
)
def test_a_repo_that_only_the_bead_or_the_session_knows_may_have_a_check(
    words: list[str], verifies: bool
) -> None:
    fleet = replace(FLEET, repos={"affordabot": RepoPolicy(verify="make test")})
    options = typed(*words)
    targets = targets_of(options, fleet)
    asked = dispatching._asked(options, targets, targets.task, None)
    assert ("dx_verify" not in dispatching._not_needed(asked, fleet, locate=False)) == verifies
