# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims: one winner, whoever and however many there are, and no write by who lost it."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claimant, Claims, Policy, Seen
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import (
    AlreadyAssignedError,
    AlreadyClaimed,
    BdFailed,
    BeadNotReady,
    BeadTooLarge,
    ClaimLost,
    LockBusy,
    NotClaimable,
    NothingToContinue,
    OrchestratorActive,
    OutcomeUnknown,
)
from ansible_collections.dx.fleet.plugins.module_utils.beads.lock import bead_lock
from ansible_collections.dx.fleet.plugins.module_utils.beads.record import holds

from .races import PROCESSES, claim_apart, claim_once, rounds
from .workspace import Workspace

ME = Claimant("epyc6", "claude-code@macmini")
OTHER = Claimant("macmini", "antigravity@homedesktop-wsl")


def test_a_claim_names_everything_that_a_crash_leaves_to_find(workspace: Workspace) -> None:
    bead = workspace.create()
    result = workspace.claims.claim(bead, ME)
    assert result.changed
    assert result.after.assignee == "epyc6"
    metadata = result.after.metadata
    assert re.fullmatch(rf"{re.escape(bead)}@1-[0-9a-f]{{8}}", metadata["dispatch"])
    assert metadata["attempt"] == 1
    assert metadata["session"].startswith("ses_")
    assert metadata["message"].startswith("msg_")
    assert metadata["orchestrator"] == "claude-code@macmini"


def test_a_replay_by_the_same_dispatch_changes_nothing(workspace: Workspace) -> None:
    bead = workspace.create()
    first = workspace.claims.claim(bead, ME).after
    again = workspace.claims.claim(
        bead, Claimant(ME.vm, ME.orchestrator, dispatch=first.metadata["dispatch"])
    )
    assert not again.changed
    assert again.after == first


@pytest.mark.parametrize("second", [ME, OTHER], ids=["same VM and user", "another"])
def test_any_other_dispatch_is_refused_with_the_holder(workspace: Workspace, second: Claimant) -> None:
    bead = workspace.create()
    held = workspace.claims.claim(bead, ME).after
    with pytest.raises(AlreadyClaimed, match="claude-code@macmini") as refused:
        workspace.claims.claim(bead, second)
    assert refused.value.details["holder"] == held.metadata["dispatch"]
    assert refused.value.next_action == f"bd show {bead}"
    assert workspace.bd.show(bead) == held


def test_a_bead_that_is_assigned_to_another_is_theirs(workspace: Workspace) -> None:
    bead = workspace.create()
    workspace.bd.update(bead, "someone", "-a", "fengning")
    with pytest.raises(AlreadyAssignedError, match="fengning"):
        workspace.claims.claim(bead, ME)


@pytest.mark.parametrize("force", [False, True])
def test_a_closed_bead_is_never_claimed(workspace: Workspace, force: bool) -> None:
    bead = workspace.create()
    workspace.bd.update(bead, "someone", "-s", "closed")
    with pytest.raises(NotClaimable, match="closed"):
        workspace.claims.claim(bead, ME, policy=Policy(force=force))


def blocked(workspace: Workspace) -> str:
    bead = workspace.create()
    workspace.bd.update(bead, "someone", "-s", "blocked")
    return bead


def deferred(workspace: Workspace) -> str:
    bead = workspace.create()
    workspace.tracker.bd("defer", bead, "--until", "2130-01-01")
    return bead


def epic(workspace: Workspace) -> str:
    return str(json.loads(workspace.tracker.bd("create", "All of it", "-t", "epic", "--json"))["id"])


def waiting(workspace: Workspace) -> str:
    bead = workspace.create()
    workspace.tracker.bd("dep", "add", bead, workspace.create())
    return bead


def part_of_what_waits(workspace: Workspace) -> str:
    parent = waiting(workspace)
    made = workspace.tracker.bd("create", "A part", "--parent", parent, "--json")
    return str(json.loads(made)["id"])


UNREADY = {
    blocked: "is blocked",
    deferred: "is deferred until 2130",
    epic: "is an epic",
    waiting: "waits for",
    part_of_what_waits: "is a part of",
}


@pytest.mark.parametrize("make", UNREADY, ids=lambda make: make.__name__)
def test_what_cannot_be_worked_on_yet_is_claimed_only_by_force(
    workspace: Workspace, make: Callable[[Workspace], str]
) -> None:
    bead = make(workspace)
    before = workspace.bd.show(bead)
    with pytest.raises(BeadNotReady, match=UNREADY[make]) as refused:
        workspace.claims.claim(bead, ME)
    assert "--force" in refused.value.message
    assert refused.value.next_action == f"bd show {bead}"
    assert workspace.bd.show(bead) == before
    assert workspace.claims.claim(bead, ME, policy=Policy(force=True)).after.status == "in_progress"
    assert workspace.bd.show(bead).status == "in_progress"


def test_what_waited_is_claimed_once_the_other_is_closed(workspace: Workspace) -> None:
    bead = waiting(workspace)
    (other,) = workspace.bd.show(bead).waits_for
    workspace.bd.close(other, "someone", "done")
    assert workspace.claims.claim(bead, ME).changed


def test_what_was_assigned_without_a_dispatch_is_said_and_left(workspace: Workspace) -> None:
    bead = workspace.create()
    workspace.bd.update(bead, ME.vm, "--claim")
    before = workspace.bd.show(bead)
    with pytest.raises(AlreadyAssignedError, match="no dispatch holds it") as refused:
        workspace.claims.claim(bead, ME)
    assert f"bd update {bead} -s open -a ''" in refused.value.message
    assert refused.value.next_action == f"bd show {bead}"
    assert workspace.bd.show(bead) == before
    (listed,) = (claim for claim in workspace.claims.all() if claim["bead"] == bead)
    assert (listed["vm"], listed["dispatch"]) == (ME.vm, None)


def test_the_attempt_grows_with_every_claim(workspace: Workspace) -> None:
    bead = workspace.create()
    for attempt in (1, 2, 3):
        claim = workspace.claims.claim(bead, ME).after
        assert claim.metadata["attempt"] == attempt
        released = workspace.claims.release(bead, claim.metadata["dispatch"]).after
        assert (released.status, released.assignee) == ("open", "")
        assert "dispatch" not in released.metadata


@pytest.mark.parametrize("end", ["release", "block", "close"])
def test_who_lost_the_claim_changes_nothing(workspace: Workspace, end: str) -> None:
    bead = workspace.create()
    lost = workspace.claims.claim(bead, ME).after.metadata["dispatch"]
    workspace.claims.release(bead, lost)
    held = workspace.claims.claim(bead, OTHER).after
    reason = [] if end == "release" else ["too late"]
    with pytest.raises(ClaimLost):
        getattr(workspace.claims, end)(bead, lost, *reason)
    assert workspace.bd.show(bead) == held


@pytest.mark.parametrize("end", ["release", "block", "close"])
def test_ending_a_claim_again_changes_nothing(workspace: Workspace, end: str) -> None:
    bead = workspace.create()
    dispatch = workspace.claims.claim(bead, ME).after.metadata["dispatch"]
    reason = [] if end == "release" else ["because of 'that' $(x)\nand more"]
    assert getattr(workspace.claims, end)(bead, dispatch, *reason).changed
    assert not getattr(workspace.claims, end)(bead, dispatch, *reason).changed


def test_check_mode_says_what_it_would_do_and_does_nothing(workspace: Workspace) -> None:
    bead = workspace.create()
    before = workspace.bd.show(bead)
    would = workspace.claims.claim(bead, ME, check=True)
    assert would.changed
    assert would.after.assignee == "epyc6"
    assert workspace.bd.show(bead) == before


def test_the_happy_path_takes_five_calls(workspace: Workspace) -> None:
    bead = workspace.create()
    bd = workspace.bd
    assert bd.capabilities.version  # asked once per installation, not per dispatch
    bd.calls.clear()
    claims = Claims(bd, str(workspace.folder / ".beads"))
    dispatch = claims.claim(bead, ME).after.metadata["dispatch"]
    claims.close(bead, dispatch, "done")
    assert len(bd.calls) == 5


def test_a_held_lock_is_waited_for_and_names_its_holder(workspace: Workspace) -> None:
    bead = workspace.create()
    claims = workspace.claims_waiting(0.2)
    with (
        bead_lock(str(workspace.folder / ".beads"), bead, "antigravity@homedesktop-wsl", 1),
        pytest.raises(LockBusy, match="antigravity@homedesktop-wsl"),
    ):
        claims.claim(bead, ME)


def test_a_claim_of_a_dispatcher_that_is_gone_is_gone_on_with(workspace: Workspace) -> None:
    bead = workspace.create()
    first = workspace.claims.claim(bead, replace(ME, dispatcher="mac/1/2/3")).after
    next_one = replace(OTHER, vm=ME.vm, dispatcher="home/4/5/6")
    result = workspace.claims.claim(bead, next_one, policy=Policy(gone="mac/1/2/3"))
    assert result.continued
    after = workspace.bd.show(bead)
    assert result.after == after
    for name in ("dispatch", "attempt", "session", "message", "claimed_at"):
        assert after.metadata[name] == first.metadata[name]
    assert after.metadata["orchestrator"] == OTHER.orchestrator
    assert after.metadata["taken_from"] == ME.orchestrator
    assert "continued by antigravity@homedesktop-wsl" in after.notes


def test_only_one_goes_on_with_what_was_left(workspace: Workspace) -> None:
    bead = workspace.create()
    workspace.claims.claim(bead, replace(ME, dispatcher="mac/1/2/3"))
    policy = Policy(gone="mac/1/2/3")
    workspace.claims.claim(bead, replace(ME, dispatcher="a/4/5/6"), policy=policy)
    with pytest.raises(AlreadyClaimed):
        workspace.claims.claim(bead, replace(ME, dispatcher="b/7/8/9"), policy=policy)
    assert workspace.bd.show(bead).metadata["dispatcher"] == "a/4/5/6"


def test_a_blocked_bead_is_claimed_anew_only_on_request(workspace: Workspace) -> None:
    bead = workspace.create()
    claim = workspace.claims.claim(bead, replace(ME, worktree="/srv/a")).after
    workspace.claims.block(bead, claim.metadata["dispatch"], "because")
    with pytest.raises(NotClaimable, match="blocked"):
        workspace.claims.claim(bead, OTHER)
    again = workspace.claims.claim(
        bead, replace(OTHER, vm=ME.vm, begin=False), policy=Policy(retry=True)
    ).after
    assert (again.status, again.assignee) == ("in_progress", ME.vm)
    assert (again.metadata["attempt"], again.metadata["worktree"]) == (2, "/srv/a")


def test_where_nothing_is_claimed_there_is_nothing_to_go_on_with(workspace: Workspace) -> None:
    bead = workspace.create()
    with pytest.raises(NothingToContinue):
        workspace.claims.claim(bead, replace(ME, begin=False))
    assert workspace.bd.show(bead).status == "open"


def test_one_orchestrator_at_a_time(empty_workspace: Workspace) -> None:
    theirs, ours = empty_workspace.create(), empty_workspace.create()
    empty_workspace.claims.claim(theirs, OTHER)
    with pytest.raises(OrchestratorActive, match="antigravity@homedesktop-wsl") as refused:
        empty_workspace.claims.claim(ours, ME, policy=Policy(alone=True))
    assert [claim["bead"] for claim in refused.value.details["others"]] == [theirs]
    assert empty_workspace.bd.show(ours).status == "open"
    told = empty_workspace.claims.claim(ours, ME, policy=Policy(alone=True, idle=frozenset({theirs})))
    assert [claim["bead"] for claim in told.others] == [theirs]


def test_who_saw_another_claim_ends_nothing(workspace: Workspace) -> None:
    bead = workspace.create()
    held = workspace.claims.claim(bead, replace(ME, dispatcher="mac/1/2/3")).after
    dispatch = held.metadata["dispatch"]
    for seen in (Seen("in_progress", "old/1/2/3"), Seen("in_progress", None), Seen("blocked", "mac/1/2/3")):
        with pytest.raises(ClaimLost):
            workspace.claims.release(bead, dispatch, seen=seen)
    assert workspace.bd.show(bead) == held
    assert workspace.claims.release(bead, dispatch, seen=Seen("in_progress", "mac/1/2/3")).changed


def test_the_claims_are_listed_with_their_age(empty_workspace: Workspace) -> None:
    first, second, free = (empty_workspace.create() for _ in range(3))
    for bead in (first, second):
        empty_workspace.claims.claim(bead, ME)
    empty_workspace.claims.block(second, empty_workspace.bd.show(second).metadata["dispatch"], "because")
    listed = empty_workspace.claims.all()
    assert [(claim["bead"], claim["status"]) for claim in listed] == [
        (first, "in_progress"),
        (second, "blocked"),
    ]
    assert all(claim["vm"] == ME.vm and 0 <= claim["age_s"] < 600 for claim in listed)
    assert free not in {claim["bead"] for claim in listed}


@pytest.mark.parametrize("end", ["release", "block", "close"])
def test_a_bead_without_room_for_a_note_keeps_no_claim_from_its_end(workspace: Workspace, end: str) -> None:
    bead = workspace.create()
    dispatch = workspace.claims.claim(bead, ME).after.metadata["dispatch"]
    workspace.bd.update(bead, "someone", "--append-notes=" + "x" * 64_000)
    reason = "completed: " + "y" * 980
    given = {"note": reason} if end == "release" else {"reason": reason}
    after = getattr(workspace.claims, end)(bead, dispatch, **given).after
    assert after.status == {"release": "open", "block": "blocked", "close": "closed"}[end]


def test_a_large_bead_is_claimed_or_it_is_said_that_it_cannot_be(workspace: Workspace) -> None:
    """bd 1.0.4 has no room for it, later ones have."""
    bead = workspace.create(description="line\n" * 12_000)
    try:
        workspace.claims.claim(bead, ME)
        wanted = "in_progress"
    except BeadTooLarge:
        wanted = "open"
    assert workspace.bd.show(bead).status == wanted


def test_a_bead_that_is_too_large_for_bd_is_left_as_it_was(
    standin: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bead = standin.create(description="line\n" * 12_000)
    before = standin.bd.show(bead)
    monkeypatch.setenv("STANDIN_BD_ROOM", "65535")
    with pytest.raises(BeadTooLarge, match=bead) as refused:
        standin.claims.claim(bead, ME)
    assert "line" not in refused.value.message
    assert standin.bd.show(bead) == before


def kill_bd(monkeypatch: pytest.MonkeyPatch, when: str, at: str) -> None:
    monkeypatch.setenv("STANDIN_BD_DIES", when)
    monkeypatch.setenv("STANDIN_BD_AT", at)


WRITES_OF_A_CLAIM = ("--metadata", "--claim")


@pytest.mark.parametrize("status", ["open", "blocked"])
@pytest.mark.parametrize("when", ["before the write", "between the writes", "after the write"])
@pytest.mark.parametrize("at", WRITES_OF_A_CLAIM)
def test_a_bd_that_dies_anywhere_in_a_claim_strands_nothing(
    standin: Workspace, monkeypatch: pytest.MonkeyPatch, at: str, when: str, status: str
) -> None:
    bead, policy = standin.create(), Policy(retry=status == "blocked")
    if status == "blocked":
        first = standin.claims.claim(bead, ME).after.metadata["dispatch"]
        standin.claims.block(bead, first, "because")
    kill_bd(monkeypatch, when, at)
    if when == "before the write":
        with pytest.raises(OutcomeUnknown, match="signal 9"):
            standin.claims.claim(bead, ME, policy=policy)
    else:  # it had been written, and was read back
        assert standin.claims.claim(bead, ME, policy=policy).after.status == "in_progress"
    monkeypatch.delenv("STANDIN_BD_DIES")
    found = standin.bd.show(bead)
    if when == "before the write":
        assert found.status in ("open", status)
        assert standin.claims.claim(bead, OTHER, policy=Policy(retry=found.status == "blocked")).changed
    else:
        assert holds(found)


@pytest.mark.parametrize("when", ["before the write", "after the write"])
@pytest.mark.parametrize("end", ["release", "block", "close"])
def test_a_bd_that_dies_in_the_middle_of_an_end_is_read_back(
    standin: Workspace, monkeypatch: pytest.MonkeyPatch, end: str, when: str
) -> None:
    bead = standin.create()
    dispatch = standin.claims.claim(bead, ME).after.metadata["dispatch"]
    reason = [] if end == "release" else ["because"]
    kill_bd(monkeypatch, when, "--json")
    if when == "after the write":
        monkeypatch.setenv("STANDIN_BD_AT", "close" if end == "close" else "update")
        assert getattr(standin.claims, end)(bead, dispatch, *reason).changed
    else:
        with pytest.raises(OutcomeUnknown):
            getattr(standin.claims, end)(bead, dispatch, *reason)
    monkeypatch.delenv("STANDIN_BD_DIES")
    getattr(standin.claims, end)(bead, dispatch, *reason)
    wanted = {"release": "open", "block": "blocked", "close": "closed"}[end]
    assert standin.bd.show(bead).status == wanted


@pytest.mark.parametrize("at", WRITES_OF_A_CLAIM)
def test_an_error_after_a_write_of_a_claim_is_read_back(
    standin: Workspace, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    bead = standin.create()
    monkeypatch.setenv("STANDIN_BD_FAILS", "after the write")
    monkeypatch.setenv("STANDIN_BD_AT", at)
    assert standin.claims.claim(bead, ME).after.status == "in_progress"


@pytest.mark.parametrize("when", ["before the write", "after the write"])
@pytest.mark.parametrize("end", ["release", "block", "close"])
def test_an_error_of_an_end_is_read_back(
    standin: Workspace, monkeypatch: pytest.MonkeyPatch, end: str, when: str
) -> None:
    bead = standin.create()
    dispatch = standin.claims.claim(bead, ME).after.metadata["dispatch"]
    reason = [] if end == "release" else ["because"]
    monkeypatch.setenv("STANDIN_BD_FAILS", when)
    monkeypatch.setenv("STANDIN_BD_AT", "close" if end == "close" else "update")
    if when == "after the write":
        assert getattr(standin.claims, end)(bead, dispatch, *reason).changed
    else:
        with pytest.raises(BdFailed, match=f"no space left on device; {bead} is still in_progress"):
            getattr(standin.claims, end)(bead, dispatch, *reason)


def test_an_error_after_a_takeover_is_read_back(standin: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    bead = standin.create()
    standin.claims.claim(bead, replace(ME, dispatcher="mac/1/2/3"))
    monkeypatch.setenv("STANDIN_BD_FAILS", "after the write")
    again = replace(ME, dispatcher="mac/4/5/6")
    assert standin.claims.claim(bead, again, policy=Policy(gone="mac/1/2/3")).continued


@pytest.mark.parametrize("delay", range(rounds(6)))
def test_a_claimer_that_is_killed_at_any_moment_strands_nothing(
    empty_workspace: Workspace, delay: int
) -> None:
    """With its `bd`, as at the end of a machine; the next one gets the bead, or takes the claim over."""
    bead = empty_workspace.create()
    mine = replace(ME, dispatcher="mac/1/2/3")
    assert empty_workspace.bd.capabilities.version  # asked once, so no part of a call
    began = time.monotonic()
    assert empty_workspace.bd.show(bead)
    call_s = time.monotonic() - began
    claimer = PROCESSES.Process(target=claim_apart, args=(empty_workspace, bead, mine))
    claimer.start()
    ready = empty_workspace.folder / "claiming"
    while not ready.exists():
        assert claimer.is_alive()
        time.sleep(0.005)
    time.sleep(call_s * (0.5 + delay * 3 / rounds(6)))  # a claim is three calls
    with suppress(ProcessLookupError):  # its claim had ended
        os.killpg(int(ready.read_text()), signal.SIGKILL)
    claimer.join()
    found = empty_workspace.bd.show(bead)
    assert found.status == "open" or holds(found), found
    if holds(found):
        after = empty_workspace.claims.claim(
            bead, replace(ME, dispatcher="mac/4/5/6"), policy=Policy(gone="mac/1/2/3")
        )
        assert after.continued
    else:
        assert empty_workspace.claims.claim(bead, OTHER).changed


@pytest.mark.parametrize("place", ["STANDIN_BD_NOTICE", "STANDIN_BD_TIP"])
@pytest.mark.parametrize(
    "notice",
    [
        "Note: bd 1.3 is out",
        "[note] look\nat this",
        "{not json",
        "[1] bd 1.3 is out",
        '{"level": "warn", "msg": "bd 1.3 is out"}',
        "run bd doctor [--fix]",
    ],
)
def test_notices_around_the_json_change_nothing(
    standin: Workspace, monkeypatch: pytest.MonkeyPatch, notice: str, place: str
) -> None:
    bead = standin.create()
    before = standin.bd.unclosed()
    assert bead in [each.id for each in before]
    monkeypatch.setenv(place, notice)
    assert standin.bd.unclosed() == before
    dispatch = standin.claims.claim(bead, ME).after.metadata["dispatch"]
    assert standin.claims.close(bead, dispatch, "done").after.status == "closed"


@pytest.mark.parametrize("end", ["release", "block", "close"])
@pytest.mark.parametrize(
    "did",
    [
        ("-s", "blocked"),
        ("-s", "deferred"),
        ("-s", "closed"),
        ("-s", "open", "-a", ""),
        ("-a", "fengning"),
    ],
    ids=" ".join,
)
def test_what_a_person_did_meanwhile_wins_and_the_result_is_a_note(
    workspace: Workspace, did: tuple[str, ...], end: str
) -> None:
    bead = workspace.create()
    dispatch = workspace.claims.claim(bead, ME).after.metadata["dispatch"]
    changed = workspace.bd.update(bead, "fengning", *did)
    result = getattr(workspace.claims, end)(
        bead, dispatch, **{"note" if end == "release" else "reason": "all done"}
    )
    assert result.overruled
    after = workspace.bd.show(bead)
    assert (after.status, after.assignee) == (changed.status, changed.assignee)
    assert after.notes == f"RESULT of {dispatch}: all done"
    again = getattr(workspace.claims, end)(
        bead, dispatch, **{"note" if end == "release" else "reason": "all done"}
    )
    assert (again.overruled, again.changed) == (True, False)


def test_a_slow_bd_is_waited_for(standin: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    bead = standin.create()
    assert standin.bd.capabilities.version
    monkeypatch.setenv("STANDIN_BD_SLEEP", "7")
    assert standin.claims.claim(bead, ME).after.status == "in_progress"


def test_the_lock_outlives_its_holder_while_the_bd_that_it_started_works(
    standin: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another dispatch of the same VM, whom `bd` itself lets in, would look before the write has landed."""
    bead = standin.create()
    begun = tmp_path / "begun"
    monkeypatch.setenv("STANDIN_BD_WRITE_BEGUN", str(begun))
    monkeypatch.setenv("STANDIN_BD_WRITE_SLEEP", "3")
    monkeypatch.setenv("STANDIN_BD_AT", "--claim")
    # Not of PROCESSES: they have the environment of their first.
    killed = multiprocessing.get_context("spawn").Process(target=claim_once, args=(standin, bead, ME))
    killed.start()
    while not begun.exists():
        assert killed.is_alive()
        time.sleep(0.01)
    killed.kill()
    killed.join()
    monkeypatch.delenv("STANDIN_BD_WRITE_SLEEP")
    with pytest.raises(AlreadyClaimed):
        standin.claims.claim(bead, replace(ME, orchestrator="second@host"))
    assert standin.bd.show(bead).metadata["orchestrator"] == ME.orchestrator
