# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what was dispatched from here."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli import dispatch_record
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.dispatch_record import Recorded, recorded, remember


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def file_of(environ: dict[str, str]) -> Path:
    return Path(environ["XDG_STATE_HOME"], "dx-fleet", "dispatches.jsonl")


def vm_of(environ: dict[str, str], dispatch: str) -> str | None:
    found = recorded(environ, dispatch)
    return None if found is None else found.vm


def test_what_was_remembered_is_known(environ: dict[str, str]) -> None:
    assert vm_of(environ, "d1") is None
    assert remember(environ, "d1", "epyc6", {}) is None
    assert remember(environ, "d2", "macmini", {}) is None
    assert [vm_of(environ, name) for name in ("d1", "d2", "d3")] == ["epyc6", "macmini", None]
    assert file_of(environ).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]\n", b"null\n", b'{"dispatch": "d1"}\n', b"\xff\xfe\n", b"{}" * 99]
)
def test_a_line_that_is_none_of_ours_is_passed_over(environ: dict[str, str], content: bytes) -> None:
    file_of(environ).parent.mkdir(parents=True)
    file_of(environ).write_bytes(content.rstrip(b"\n") + b"\n")
    assert remember(environ, "d2", "epyc6", {}) is None
    assert (vm_of(environ, "d1"), vm_of(environ, "d2")) == (None, "epyc6")


def test_a_record_that_grows_loses_its_older_half(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_record, "MOST_BYTES", 2000)
    for number in range(200):
        assert remember(environ, f"d{number}", "epyc6", {}) is None
    assert file_of(environ).stat().st_size < 2100
    assert (vm_of(environ, "d0"), vm_of(environ, "d199")) == (None, "epyc6")
    assert vm_of(environ, "d190") == "epyc6"
    assert [path.name for path in file_of(environ).parent.iterdir()] == ["dispatches.jsonl"]


def _remember_many(state: str, prefix: str) -> None:
    for number in range(300):
        remember({"XDG_STATE_HOME": state}, f"{prefix}{number}", prefix, {})


def test_two_processes_lose_no_line_of_each_other(environ: dict[str, str]) -> None:
    state = environ["XDG_STATE_HOME"]
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_remember_many, args=(state, prefix)) for prefix in ("a", "b")]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(file_of(environ).read_text().splitlines()) == 600
    assert (vm_of(environ, "a299"), vm_of(environ, "b0")) == ("a", "b")


@pytest.mark.parametrize("state", ["/dev/null", "/proc/nosuch"])
def test_a_place_that_cannot_be_written_is_returned_and_ends_nothing(state: str) -> None:
    why = remember({"XDG_STATE_HOME": state}, "d1", "epyc6", {})
    assert why is not None
    assert state in why
    assert vm_of({"XDG_STATE_HOME": state}, "d1") is None


def test_what_decides_how_the_work_is_checked_is_known_and_no_task(environ: dict[str, str]) -> None:
    asked = {"repo": "affordabot", "branch": "fix/1", "verify": "make test", "task": "secret", "timeout": 3}
    assert remember(environ, "d1", "epyc6", asked, "ses_1") is None
    kept = {"repo": "affordabot", "branch": "fix/1", "verify": "make test"}
    assert recorded(environ, "d1") == Recorded("epyc6", kept, "ses_1")
    assert "secret" not in file_of(environ).read_text()


@pytest.mark.parametrize("session", [None, 7, ["ses_1"]])
def test_a_record_without_a_session_is_a_record(environ: dict[str, str], session: object) -> None:
    file_of(environ).parent.mkdir(parents=True)
    file_of(environ).write_text(json.dumps({"dispatch": "d1", "vm": "epyc6", "session": session}) + "\n")
    assert recorded(environ, "d1") == Recorded("epyc6")


@pytest.mark.parametrize("asked", [None, [], "x", 1])
def test_a_record_of_another_shape_is_passed_over(environ: dict[str, str], asked: object) -> None:
    file_of(environ).parent.mkdir(parents=True)
    file_of(environ).write_text(json.dumps({"dispatch": "d1", "vm": "epyc6", "asked": asked}) + "\n")
    assert recorded(environ, "d1") in (None, Recorded("epyc6"))
