# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner of `bd`: whatever that says or does, it ends, and the error has a name."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads import errors
from ansible_collections.dx.fleet.plugins.module_utils.beads.bd import Bd, Call
from ansible_collections.dx.fleet.plugins.module_utils.beads.lock import bead_lock

VERSION = '{"version": "1.0.4"}'
ISSUE = {"id": "aff-1", "title": "T", "status": "open"}


@pytest.fixture(autouse=True)
def no_beads_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEADS_DIR", raising=False)


def bd_that(tmp_path: Path, script: str, timeout_s: float = 60) -> Bd:
    """A `bd` of a known version that does this in a shell for everything else."""
    (tmp_path / ".beads").mkdir(exist_ok=True)
    executable = tmp_path / "bd"
    executable.write_text(
        f"#!/bin/sh\ncase \"$1 $2\" in version*) echo '{VERSION}'; exit;; 'update --help') exit;; esac\n{script}\n"
    )
    executable.chmod(0o755)
    return Bd(str(executable), str(tmp_path), timeout_s)


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps([ISSUE]),
        json.dumps(ISSUE),
        json.dumps({"schema_version": 1, "data": [ISSUE]}),
        json.dumps({"schema_version": 1, "items": [ISSUE]}),
        json.dumps([{**ISSUE, "id": "aff-11"}, ISSUE]),
        pytest.param("warning: " + json.dumps([ISSUE], indent=2), id="a notice on the same line"),
        pytest.param(json.dumps([ISSUE], indent=2) + "\n[1] tip", id="a number in brackets behind"),
        pytest.param(json.dumps([ISSUE], indent=2) + '\n{"level": "warn"}', id="other JSON behind"),
        pytest.param('{"level": "warn"}\n' + json.dumps([ISSUE], indent=2), id="other JSON before"),
    ],
)
def test_an_answer_is_read_in_any_wrapping(tmp_path: Path, answer: str) -> None:
    (tmp_path / "answer").write_text(answer)
    assert bd_that(tmp_path, "cat answer").show("aff-1").title == "T"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "No updates specified",
        "<html><body>200 OK</body></html>",
        '[{"id": "aff-1"',
        pytest.param(json.dumps([ISSUE, {**ISSUE, "id": "aff-2"}], indent=2)[:-9], id="a list cut off"),
        pytest.param(
            json.dumps([ISSUE], indent=2)[:-1] + "\nTip: run bd doctor", id="cut off before a notice"
        ),
        pytest.param(json.dumps({**ISSUE, "dependencies": [ISSUE]}, indent=2)[:-2], id="an issue cut off"),
        '[{"id": 1}]',
        '[{"id": "aff-1", "title": ["x"]}]',
        '[{"id": "aff-1", "metadata": [1]}]',
        '[{"id": "aff-1", "metadata": "not json"}]',
        '{"data": 5}',
        "[[]]",
        "null",
        pytest.param("[" * 100_000, id="deep list"),
        pytest.param('{"data":' * 50_000, id="deep object"),
    ],
)
def test_an_answer_that_is_no_bead_is_one_line(tmp_path: Path, answer: str) -> None:
    (tmp_path / "answer").write_text(answer)
    with pytest.raises(errors.BdFailed) as failed:
        bd_that(tmp_path, "cat answer").show("aff-1")
    assert "aff-1" in failed.value.message
    assert "\n" not in failed.value.message
    assert len(failed.value.message) < 400
    assert failed.value.next_action == "bd show aff-1"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("", id="empty"),
        pytest.param(json.dumps([ISSUE, {**ISSUE, "id": "aff-2"}], indent=2)[:-9], id="cut off"),
        pytest.param('{"level": "warn"}', id="other JSON"),
    ],
)
def test_a_list_that_is_not_all_of_it_is_none(tmp_path: Path, answer: str) -> None:
    """What a bead waits for, and who works, is looked up in it: a part of it would be a lie."""
    (tmp_path / "answer").write_text(answer)
    with pytest.raises(errors.BdFailed, match="bd list can't be read") as failed:
        bd_that(tmp_path, "cat answer").unclosed()
    assert failed.value.next_action == "bd list --limit 0 --json"


@pytest.mark.parametrize("answer", ["", "Updated.", json.dumps([{**ISSUE, "id": "aff-1t"}])])
def test_a_write_whose_answer_is_not_about_its_bead_may_have_happened(tmp_path: Path, answer: str) -> None:
    (tmp_path / "answer").write_text(answer)
    with pytest.raises(errors.OutcomeUnknown, match="bd update aff-1 can't be read") as failed:
        bd_that(tmp_path, "cat answer").update("aff-1", "epyc6", "-s", "open")
    assert failed.value.next_action == "bd show aff-1"


@pytest.mark.parametrize(
    ("ask", "advice"),
    [
        (lambda bd: bd.unclosed(), "bd list --limit 0 --json"),
        (lambda bd: bd.show("aff-1"), "bd show aff-1 --json"),
        (lambda bd: bd.update("aff-1", "epyc6", "-s", "open"), "bd show aff-1"),
        (lambda bd: bd.close("aff-1", "epyc6", "done"), "bd show aff-1"),
    ],
)
def test_a_failure_that_has_no_name_advises_a_command_that_only_looks(
    tmp_path: Path, ask: Callable[[Bd], object], advice: str
) -> None:
    with pytest.raises(errors.BdFailed, match=r"^bd (list|show|update|close): disk on fire$") as failed:
        ask(bd_that(tmp_path, "echo 'Error: disk on fire' >&2; exit 1"))
    assert failed.value.next_action == advice


def test_a_bead_that_is_not_there_is_named(tmp_path: Path) -> None:
    script = """echo '{"error": "no issues found matching the provided IDs"}'; exit 1"""
    with pytest.raises(errors.BeadNotFound, match=r"^bd show: aff-1: no issues found") as failed:
        bd_that(tmp_path, script).show("aff-1")
    assert failed.value.next_action == "bd list --all"


def test_another_bead_than_the_one_asked_for_is_not_it(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(json.dumps([{**ISSUE, "id": "aff-1t"}]))
    with pytest.raises(errors.BeadNotFound, match="aff-1t"):
        bd_that(tmp_path, "cat answer").show("aff-1")


@pytest.mark.parametrize(
    ("out", "err", "code", "kind"),
    [
        ("", 'Error resolving aff-1: no issue found matching "aff-1"', 1, errors.BeadNotFound),
        ('{"error": "no issues found matching the provided IDs"}', "", 1, errors.BeadNotFound),
        ("", 'Error: ambiguous ID "aff-1" matches 2 issues: [a b]', 1, errors.BeadNotFound),
        ("", "Error claiming aff-1: issue already claimed by macmini", 1, errors.AlreadyClaimed),
        ("", "anything", 13, errors.AlreadyClaimed),
        ("", "Error claiming aff-1: issue not claimable: status closed", 1, errors.NotClaimable),
        ("", "Error: no beads database found\nHint: run bd init", 1, errors.NoWorkspace),
        ("", '{"error": "cannot use -C directory x"}', 1, errors.NoWorkspace),
        ("", "Error: another process holds the exclusive lock on x", 1, errors.StoreLocked),
        ("", "Error: failed to open: Dolt server unreachable at h:1", 1, errors.StoreUnreachable),
        ("", "Error 1213 (40001): serialization failure", 1, errors.BdFailed),
        ("[1]", "", 1, errors.BdFailed),
        ("[" * 50_000, "", 1, errors.BdFailed),
        ('{"error": 5}', "", 2, errors.BdFailed),
    ],
)
def test_each_error_has_a_name_and_a_next_action(
    tmp_path: Path, out: str, err: str, code: int, kind: type[errors.BeadsError]
) -> None:
    (tmp_path / "out").write_text(out)
    (tmp_path / "err").write_text(err)
    with pytest.raises(errors.BeadsError) as failed:
        bd_that(tmp_path, f"cat out; cat err >&2; exit {code}").update("aff-1", "epyc6", "-s", "open")
    assert type(failed.value) is kind
    assert failed.value.next_action
    assert "\n" not in failed.value.message


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    bd = bd_that(tmp_path, "")
    (tmp_path / "bd").write_text("#!/no/such/shell\n")
    with pytest.raises(errors.BdMissing, match="can't be run"):
        bd.show("aff-1")


def test_what_outlives_a_bd_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """A server for the store leaves the group of the `bd` that starts it, with its output still open."""
    bd = bd_that(tmp_path, "setsid sh -c 'echo $$ >server; exec sleep 600' & wait", timeout_s=3)
    try:
        with pytest.raises(errors.OutcomeUnknown, match="within 3 s"):
            bd.show("aff-1")
    finally:
        os.kill(int((tmp_path / "server").read_text()), signal.SIGKILL)


def test_what_outlives_bd_does_not_hold_the_lock(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(json.dumps([ISSUE]))
    script = "setsid sh -c 'echo $$ >server; exec sleep 600' >/dev/null 2>&1 &\nwhile [ ! -s server ]; do :; done; cat answer"
    bd = bd_that(tmp_path, script)
    try:
        with bead_lock(bd.workspace, "aff-1", "me", 1) as descriptor:
            bd.inherited = (descriptor,)
            bd.show("aff-1")
        with bead_lock(bd.workspace, "aff-1", "next", 0):
            pass
    finally:
        os.kill(int((tmp_path / "server").read_text()), signal.SIGKILL)


def test_bd_sees_the_workspace_that_is_locked_and_nobody_as_the_actor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BD_ACTOR", "BEADS_ACTOR", "BEADS_DB", "BD_DB"):
        monkeypatch.setenv(name, "of another")
    (tmp_path / "answer").write_text(json.dumps([ISSUE]))
    bd_that(tmp_path, "env >seen; cat answer").show("aff-1")
    seen = dict(line.partition("=")[::2] for line in (tmp_path / "seen").read_text().splitlines())
    assert not {"BD_ACTOR", "BEADS_ACTOR", "BEADS_DB", "BD_DB"} & seen.keys()
    assert seen["BEADS_DIR"] == str(tmp_path / ".beads")


def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "dx-fleet-locks").write_text("in the way")
    with pytest.raises(errors.WorkspaceUnusable), bead_lock(str(tmp_path), "aff-1", "me", 1):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"holder": "x"}', "\0"])
def test_a_lock_whose_holder_wrote_nonsense_is_waited_for_all_the_same(tmp_path: Path, text: str) -> None:
    with bead_lock(str(tmp_path), "aff-1", "me", 1) as descriptor:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
        with (
            pytest.raises(errors.LockBusy, match="another process"),
            bead_lock(str(tmp_path), "aff-1", "x", 0),
        ):
            pass


def test_what_it_only_warned_of_is_not_what_went_wrong() -> None:
    err = 'warning: no configuration\ntime="2026-01-04T10:00:00Z" level=info msg="x"\npanic: runtime error\n\nmore'
    assert Call(("bd", "list"), 2, "", err, 0.1).error_text() == "panic: runtime error"
    assert Call(("bd", "list"), 2, "", "warning: that was all", 0.1).error_text() == "warning: that was all"
