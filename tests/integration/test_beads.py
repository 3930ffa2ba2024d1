# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatch from a bead: one winner, the bead says what became of it, and anyone can go on with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.bd import Bd
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claimant, Claims

from tests.command import words_of
from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy, status
from tests.lab.tracker import Tracker
from tests.wait import wait_for

from .fleet import Fleet, fresh_id

HOSTILE = "quotes ' \" $(touch pwned) `id` {{ 7 * 7 }} {% raw %} -- --all \N{SNOWMAN}\n" + "line\n" * 9_000


def orchestrated(fleet: Fleet, orchestrator: str) -> Fleet:
    return replace(fleet, env={**fleet.env, "DX_ORCHESTRATOR": orchestrator})


def run_next(fleet: Fleet, line: str) -> list[str]:
    """The words of a command that a person was told to run next."""
    program, *words = words_of(line)
    assert program == "dx-dispatch"
    return words


def claimed_only(tracker: Tracker, bead: str) -> str:
    """Claim a bead for epyc6, as a dispatch does that dies before it has made its session; that session's id."""
    bd = Bd(str(tracker.folder / "bin" / "bd"), str(tracker.folder))
    claim = Claims(bd, str(tracker.folder / ".beads")).claim(bead, Claimant("epyc6", "claude-code@macmini"))
    return str(claim.after.metadata["session"])


def test_title_and_description_are_the_task_and_the_bead_is_closed(
    bead_fleet: Fleet, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("@bash true", "@say done with 'quotes' and $(nothing)")
    done = bead_fleet.dispatch("epyc6", "affordabot", "--bead", bead)
    result = done.result()
    assert (done.code, result["state"], result["bead"]) == (0, "completed", bead)
    assert result["dispatch"].startswith(f"{bead}@1-")
    assert result["evidence"]["text"] == "done with 'quotes' and $(nothing)"
    found = tracker.show(bead)
    assert (found["status"], found["assignee"]) == ("closed", "epyc6")
    metadata = found["metadata"]
    for name in ("dispatch", "session", "message"):
        assert metadata[name] == result[name]
    assert metadata["worktree"] == result["evidence"]["directory"]
    assert bead_fleet["epyc6"].prompts(result["session"]) == [
        ["@bash true\n\n@say done with 'quotes' and $(nothing)"]
    ]


def test_any_text_of_a_bead_is_data(bead_fleet: Fleet, lab: Lab, tracker: Tracker) -> None:
    title = "@say $(touch pwned) {{ 7 * 7 }} 'x'"
    bead = tracker.create(title, HOSTILE)
    result = bead_fleet.dispatch("epyc6", "affordabot", "--bead", bead).result()
    ((text,),) = bead_fleet["epyc6"].prompts(result["session"])
    assert text == f"{title}\n\n{HOSTILE.strip()}"
    assert result["state"] == "completed"
    assert not list(lab.root.rglob("pwned"))


def test_a_given_task_goes_before_the_text_of_the_bead(bead_fleet: Fleet, tracker: Tracker) -> None:
    bead = tracker.create("@say from the bead")
    result = bead_fleet.dispatch("epyc6", "affordabot", "@say from me", "--bead", bead).result()
    assert result["evidence"]["text"] == "from me"


def test_of_several_at_once_one_works_and_the_others_leave_no_trace(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    mark = fresh_id()
    bead = tracker.create(f"@silent 2\n@say won {mark}")
    before = {vm: bead_fleet[vm].sessions() for vm in lab.vms}
    vms = ("epyc6", "epyc6", "macmini")
    runs = [bead_fleet.start(vm, "affordabot", "--bead", bead, "--json") for vm in vms]
    ended = [running.finish() for running in runs]
    results = [each.result() for each in ended]
    assert sorted(result["state"] for result in results) == ["completed", "refused", "refused"]
    for each, result in zip(ended, results, strict=True):
        if result["state"] == "refused":
            assert each.code == 4
            # One that comes when all is over finds the bead closed.
            assert result["reason_code"] in ("already_claimed", "not_claimable")
            assert bead in result["message_to_human"]
    winner = next(result for result in results if result["state"] == "completed")
    new = {session for vm in lab.vms for session in bead_fleet[vm].sessions() - before[vm]}
    assert new == {winner["session"]}
    assert tracker.metadata(bead)["session"] == winner["session"]
    assert len(model.prompts(mark)) == 1


def test_a_look_that_says_no_claims_nothing(bead_fleet: Fleet, tracker: Tracker) -> None:
    bead = tracker.create("@say never")
    before = tracker.show(bead)
    refused = bead_fleet.dispatch("epyc6", "no-such-repo", "--bead", bead)
    assert refused.result()["reason_code"] == "repo_not_found"
    assert tracker.show(bead) == before


def test_what_fails_before_the_prompt_gives_the_bead_back(
    bead_fleet: Fleet, tracker: Tracker, proxy: FaultProxy, tmp_path: Path
) -> None:
    bead = tracker.create("@say never")
    proxy.add(
        "POST",
        "/api/session$",
        status(500, {"name": "UnknownError", "data": {"message": "Unexpected server error"}}),
        times=None,
    )
    failed = bead_fleet.seen_at(tmp_path, epyc6=proxy.url).dispatch("epyc6", "affordabot", "--bead", bead)
    assert (failed.code, failed.result()["state"]) == (4, "refused")
    found = tracker.show(bead)
    assert found["status"] == "open"
    assert "assignee" not in found
    assert found["metadata"]["attempt"] == 1
    assert "RELEASED: refused" in found["notes"]


def test_a_failure_blocks_the_bead_with_its_reason_and_the_command_told_tries_again(
    bead_fleet: Fleet, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("@status 401")
    failed = bead_fleet.dispatch("macmini", "affordabot", "--bead", bead)
    assert (failed.code, failed.result()["state"]) == (3, "failed")
    blocked = tracker.show(bead)
    assert (blocked["status"], blocked["assignee"]) == ("blocked", "macmini")
    assert "BLOCKED: failed: " in blocked["notes"]
    refused = bead_fleet.dispatch("macmini", "affordabot", "--bead", bead)
    assert (refused.code, refused.result()["reason_code"]) == (4, "not_claimable")
    again = bead_fleet.dispatch(*run_next(bead_fleet, failed.result()["next_action"]))
    assert again.result()["dispatch"].startswith(f"{bead}@2-")
    assert again.result()["vm"] == "macmini"  # where it was tried before, though another is the default
    assert tracker.metadata(bead)["attempt"] == 2
    assert (again.code, tracker.status(bead)) == (3, "blocked")
    third = bead_fleet.dispatch("epyc6", "affordabot", "@say third time lucky", "--retry", bead)
    assert (third.code, third.result()["dispatch"].rpartition("-")[0]) == (0, f"{bead}@3"), third.out
    assert (tracker.status(bead), tracker.show(bead)["assignee"]) == ("closed", "epyc6")


def test_what_is_only_sent_is_still_claimed_and_is_gone_on_with(
    bead_fleet: Fleet, model: ScriptedModel, tracker: Tracker
) -> None:
    mark = fresh_id()
    bead = tracker.create(f"@silent 2\n@say later {mark}")
    sent = bead_fleet.dispatch("macmini", "affordabot", "--bead", bead, "--no-wait")
    assert (sent.code, sent.result()["state"], tracker.status(bead)) == (0, "running", "in_progress")
    done = bead_fleet.dispatch("--bead", bead)  # no VM: the bead knows that it is not the default one
    result = done.result()
    assert (done.code, result["state"], result["vm"]) == (0, "completed", "macmini"), done.out
    assert result["session"] == sent.result()["session"]
    assert (tracker.status(bead), len(model.prompts(mark))) == ("closed", 1)


def test_the_session_that_a_claim_resumed_is_the_one_gone_on_with(
    bead_fleet: Fleet, tracker: Tracker
) -> None:
    before = bead_fleet.dispatch("epyc6", "affordabot", "@say before").result()
    mark = fresh_id()
    bead = tracker.create(f"@silent 2\n@say resumed {mark}")
    words = ("epyc6", "--bead", bead)
    sent = bead_fleet.dispatch(*words, "--session", before["session"], "--no-wait")
    assert (sent.code, sent.result()["session"]) == (0, before["session"]), sent
    sessions = bead_fleet["epyc6"].sessions()
    done = bead_fleet.dispatch(*words)  # without a word about the session: the bead knows it
    assert (done.code, done.result()["session"]) == (0, before["session"]), done
    assert tracker.status(bead) == "blocked"  # no repo was named, whose policy would close it
    assert bead_fleet["epyc6"].prompts(before["session"])[1:] == [[f"@silent 2\n@say resumed {mark}"]]
    assert bead_fleet["epyc6"].sessions() == sessions


def test_a_bead_on_another_vm_than_the_named_one_is_refused(
    bead_fleet: Fleet, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("@silent 1\n@say mine")
    bead_fleet.dispatch("macmini", "affordabot", "--bead", bead, "--no-wait")
    refused = bead_fleet.dispatch("epyc6", "affordabot", "--bead", bead)
    assert (refused.code, refused.result()["reason_code"]) == (4, "already_claimed")
    done = bead_fleet.dispatch(*run_next(bead_fleet, refused.result()["next_action"]))
    assert (done.code, done.result()["vm"]) == (0, "macmini")


def test_one_that_waits_for_a_person_stays_claimed(bead_fleet: Fleet, tracker: Tracker) -> None:
    bead = tracker.create("@permission", "@say allowed")
    waits = bead_fleet.dispatch("epyc6", "affordabot", "--bead", bead)
    result = waits.result()
    assert (waits.code, result["state"], tracker.status(bead)) == (6, "needs_input", "in_progress")
    listed = bead_fleet.look("status").document()
    (claim,) = [each for each in listed["claims"] if each["bead"] == bead]
    assert (claim["vm"], claim["session_state"], claim["session"]) == (
        "epyc6",
        "needs_input",
        result["session"],
    )
    request = result["evidence"]["request"]
    directory = result["evidence"]["directory"]
    answered = bead_fleet["epyc6"].ask(
        "POST", f"/permission/{request['id']}/reply", {"reply": "once"}, directory=directory
    )
    assert answered.status_code == 200
    done = bead_fleet.dispatch("--bead", bead)
    assert (done.code, done.result()["state"], tracker.status(bead)) == (0, "completed", "closed")


def test_ctrl_c_leaves_it_claimed_and_the_last_line_goes_on(
    bead_fleet: Fleet, model: ScriptedModel, tracker: Tracker
) -> None:
    mark = fresh_id()
    bead = tracker.create(f"@silent 3\n@say went on {mark}")
    running = bead_fleet.start("epyc6", "affordabot", "--bead", bead)
    running.wait_for("Task sent")
    running.interrupt()
    detached = running.finish()
    assert (detached.code, tracker.status(bead)) == (130, "in_progress")
    done = bead_fleet.dispatch(*run_next(bead_fleet, detached.out.rstrip().splitlines()[-1]))
    assert (done.code, tracker.status(bead), len(model.prompts(mark))) == (0, "closed", 1), done


def test_a_dry_run_claims_nothing(bead_fleet: Fleet, tracker: Tracker) -> None:
    bead = tracker.create("@say never")
    before = tracker.show(bead)
    planned = bead_fleet.dispatch("epyc6", "affordabot", "--bead", bead, "--dry-run")
    assert (planned.code, planned.result()["state"]) == (0, "planned")
    assert planned.result()["dispatch"].startswith(f"{bead}@1-")
    assert tracker.show(bead) == before


def test_a_bead_that_is_gone_on_with_must_be_claimed(bead_fleet: Fleet, tracker: Tracker) -> None:
    bead = tracker.create("@say never")
    refused = bead_fleet.dispatch("--bead", bead)
    assert (refused.code, refused.result()["reason_code"]) == (4, "not_claimed")
    assert tracker.status(bead) == "open"


@pytest.mark.parametrize("at_work", ["macmini", "epyc6"])
def test_another_orchestrator_at_work_is_named(
    bead_fleet: Fleet, model: ScriptedModel, tracker: Tracker, tmp_path: Path, at_work: str
) -> None:
    theirs, ours = tracker.create(f"@silent 600\n@say theirs on {at_work}"), tracker.create("@say ours")
    other = orchestrated(bead_fleet, "claude-code@macmini")
    sent = other.dispatch(at_work, "affordabot", "--bead", theirs, "--no-wait").result()
    me = orchestrated(bead_fleet, "antigravity@homedesktop-wsl")
    alone = me.described_as(tmp_path)
    path = Path(alone.env["DX_VM_ENDPOINTS"])
    path.write_text(json.dumps({**json.loads(path.read_text()), "single_orchestrator": True}))
    refused = alone.dispatch("epyc6", "affordabot", "--bead", ours)
    assert (refused.code, refused.result()["reason_code"]) == (4, "orchestrator_active")
    assert "claude-code@macmini" in refused.result()["message_to_human"]
    assert tracker.status(ours) == "open"
    # Without that rule it is said, and the dispatch goes on.
    told = me.command("epyc6", "affordabot", "--bead", ours)
    assert told.code == 0, told
    assert f"claude-code@macmini is at work as well: {theirs} on {at_work}" in told.out
    taken = alone.dispatch("--bead", theirs, "--takeover", "--no-wait")
    assert taken.code == 0, taken.out
    found = tracker.show(theirs)
    assert found["metadata"]["orchestrator"] == "antigravity@homedesktop-wsl"
    assert "taken over by antigravity@homedesktop-wsl from claude-code@macmini" in found["notes"]
    bead_fleet[at_work].ask("POST", f"/session/{sent['session']}/abort")


def test_an_orchestrator_whose_sessions_are_idle_is_not_at_work(
    bead_fleet: Fleet, tracker: Tracker, tmp_path: Path
) -> None:
    theirs, ours = tracker.create("@say theirs"), tracker.create("@say ours")
    other = orchestrated(bead_fleet, "claude-code@macmini")
    sent = other.dispatch("macmini", "affordabot", "--bead", theirs, "--no-wait").result()
    wait_for(lambda: bead_fleet["macmini"].has_answered(sent["session"]))
    alone = orchestrated(bead_fleet, "antigravity@homedesktop-wsl").described_as(tmp_path)
    path = Path(alone.env["DX_VM_ENDPOINTS"])
    path.write_text(json.dumps({**json.loads(path.read_text()), "single_orchestrator": True}))
    done = alone.dispatch("epyc6", "affordabot", "--bead", ours)
    assert (done.code, tracker.status(ours)) == (0, "closed"), done.out


def test_reap_ends_what_nobody_works_on_and_nothing_else(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    epyc6 = bead_fleet["epyc6"]
    idle, works = tracker.create("@say finished unseen"), tracker.create("@silent 600\n@say works")
    free, gone = tracker.create("@say free"), tracker.create("@say gone")
    sent = {
        bead: bead_fleet.dispatch("epyc6", "affordabot", "--bead", bead, "--no-wait").result()["session"]
        for bead in (idle, works)
    }
    sent[gone] = claimed_only(tracker, gone)
    wait_for(lambda: epyc6.has_answered(sent[idle]))

    def became(*words: str) -> dict[str, str]:
        done = bead_fleet.look("reap", *words)
        assert done.code == 0, done
        found = {claim["bead"]: claim["became"] for claim in done.document()["claims"]}
        return {bead: found[bead] for bead in sent}

    assert set(became().values()) == {"kept"}  # younger than an hour
    listed = bead_fleet.look_plainly("reap", "--ttl", "0", "--dry-run").out
    assert f"[epyc6] {works}: would be kept: session {sent[works]} on epyc6 works" in listed
    assert f"[epyc6] {idle}: would be blocked: " in listed
    assert f"[epyc6] {gone}: would be released: " in listed
    assert {tracker.status(bead) for bead in sent} == {"in_progress"}
    assert became("--ttl", "0") == {works: "kept", gone: "released", idle: "blocked"}
    assert (tracker.status(idle), tracker.status(gone)) == ("blocked", "open")
    assert "finished unseen" in tracker.show(idle)["notes"]
    assert sent[gone] in tracker.show(gone)["notes"]
    assert (tracker.status(works), tracker.status(free)) == ("in_progress", "open")
    epyc6.ask("POST", f"/session/{sent[works]}/abort")


def test_a_vm_that_cannot_be_asked_counts_as_alive(
    bead_fleet: Fleet, tracker: Tracker, tmp_path: Path
) -> None:
    bead = tracker.create("@say unseen")
    claimed_only(tracker, bead)
    elsewhere = bead_fleet.seen_at(tmp_path, epyc6="http://127.0.0.1:9")
    done = elsewhere.look("reap", "--ttl", "0")
    (claim,) = [each for each in done.document()["claims"] if each["bead"] == bead]
    assert (claim["became"], tracker.status(bead)) == ("kept", "in_progress")
    assert "can't be asked" in claim["found"]


def test_what_cannot_be_a_bead_ends_the_command_at_once(bead_fleet: Fleet) -> None:
    refused = bead_fleet.dispatch("epyc6", "affordabot", "--bead=-x")
    assert (refused.code, refused.document()["error"]["reason_code"]) == (2, "bad_bead")


def test_a_part_of_an_id_is_no_bead(bead_fleet: Fleet, tracker: Tracker) -> None:
    bead = tracker.create("@say never")
    refused = bead_fleet.dispatch("epyc6", "affordabot", "--bead", bead[:-1])
    assert (refused.code, refused.result()["reason_code"]) == (4, "bead_not_found")
    assert tracker.status(bead) == "open"


def test_without_bd_or_a_workspace_it_is_said(bead_fleet: Fleet, tracker: Tracker, tmp_path: Path) -> None:
    words = ("epyc6", "affordabot", "--bead", "aff-1")
    bare = {**bead_fleet.env, "BEADS_DIR": str(tmp_path / "none")}
    assert replace(bead_fleet, env=bare).dispatch(*words).result()["reason_code"] == "no_workspace"
    path = "/usr/bin:/bin"
    missing = replace(bead_fleet, env={**bead_fleet.env, "PATH": path}).dispatch(*words)
    assert missing.result()["reason_code"] == "bd_missing"
    assert "brew install beads" in missing.result()["next_action"]
