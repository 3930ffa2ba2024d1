# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fact is kept without secrets, or it is said once that it can't be; nothing is ever raised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.recorder import KEPT, Recorder, recorder_of
from ansible_collections.dx.fleet.plugins.plugin_utils.config.slack import AuditConfig
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind

from tests.unit.plugin_utils.audit.secrets_corpus import LEAKS

TOKEN = "xoxb-" + "1234567890abcdef"
ON = AuditConfig.read({"SLACK_BOT_TOKEN": TOKEN}, "C1")
SUBJECT = Subject("d1", vm="epyc6")


class Kept:
    """A recorder, and what it said."""

    def __init__(self, directory: Path, config: AuditConfig = ON) -> None:
        self.said: list[str] = []
        self.path = directory / "s" / "outbox.db"
        self.recorder = Recorder(config, Outbox(self.path), self.said.append)

    def bytes(self) -> bytes:
        self.recorder.outbox.close()
        return b"".join(path.read_bytes() for path in self.path.parent.iterdir())


def test_a_fact_is_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.recorder.record(kinds.dispatching(SUBJECT, "Run make test")) is True
    assert kept.recorder.record(kinds.dispatching(SUBJECT, "Run make test")) is False
    assert kept.recorder.counts("d1").as_dict() == {"delivered": 0, "pending": 1, "held": 0}  # type: ignore[union-attr]
    assert kept.said == []


def test_no_secret_reaches_the_disk(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for number, (text, _) in enumerate(LEAKS):
        fields: dict[str, Any] = {"said": text, "deep": [{"log": text, "token": "tok-en-value"}]}
        subject = replace(SUBJECT, repo=text, bead=text, session=text, orchestrator=text)
        assert kept.recorder.record(AuditEvent(EventKind.FAILED, subject, fields, str(number)))
        kept.recorder.record(kinds.dispatching(replace(SUBJECT, dispatch=f"t{number}"), text))
    written = kept.bytes().decode("utf-8", "replace")
    assert "tok-en-value" not in written
    assert [secret for _, secret in LEAKS if secret in written or secret.replace('"', '\\"') in written] == []
    assert kept.said == []


def test_a_secret_is_taken_out_before_a_text_is_cut(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.recorder.record(kinds.dispatching(SUBJECT, "x" * (KEPT - 9) + " " + TOKEN))
    assert b"xoxb" not in kept.bytes()
    (record,) = kept.recorder.outbox.trail()
    assert len(record.event.fields["task"]) == KEPT


def test_values_of_the_environment_do_not_reach_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPYC6_OPENCODE_PASSWORD", "correct-horse-battery")
    kept = Kept(tmp_path)
    kept.recorder.record(kinds.dispatching(SUBJECT, "log in with correct-horse-battery"))
    assert b"correct-horse" not in kept.bytes()


def test_a_file_that_cannot_be_used_is_said_once_and_nothing_is_raised(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.path.parent.mkdir()
    kept.path.write_bytes(b"no database " * 500)
    for number in range(3):
        assert kept.recorder.record(kinds.retrying(SUBJECT, "x", number)) is False
    assert kept.recorder.counts("d1") is None
    assert len(kept.said) == 1
    assert "is no outbox" in kept.said[0]
    assert "mv " in kept.said[0]


def test_whatever_an_event_is_nothing_is_raised(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.recorder.record(AuditEvent(EventKind.FAILED, SUBJECT, {"a": object()})) is False
    assert kept.recorder.record(
        AuditEvent(EventKind.FAILED, Subject("\udfff", vm="\0"), {"message": "\ud800 \0"})
    ) in (
        True,
        False,
    )
    assert kept.recorder.record(None) is False
    assert kept.recorder.record(kinds.dispatching(SUBJECT, "x" * 1_000_000)) is True


@pytest.mark.parametrize(
    ("environ", "channel", "why"),
    [
        ({}, None, "no channel"),
        ({"SLACK_BOT_TOKEN": TOKEN}, None, "no channel"),
        ({}, "C1", "SLACK_BOT_TOKEN is not set"),
        ({"SLACK_BOT_TOKEN": TOKEN, "SLACK_AUDIT": "false"}, "C1", "turns it off"),
        ({"SLACK_BOT_TOKEN": TOKEN, "SLACK_AUDIT": "0"}, "C1", "turns it off"),
        ({"SLACK_BOT_TOKEN": TOKEN, "SLACK_AUDIT": "perhaps"}, "C1", "neither true nor false"),
        ({"SLACK_BOT_TOKEN": TOKEN + "\r\nX: y"}, "C1", "no token"),
        (
            {"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": "http://evil.example/api/"},
            "C1",
            "neither an https",
        ),
        ({"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": "http://127.0.0.1.evil.example/"}, "C1", "neither"),
        ({"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": "http://[::1"}, "C1", "no URL"),
    ],
)
def test_it_is_off_unless_all_is_configured(
    environ: dict[str, str], channel: str | None, why: str, tmp_path: Path
) -> None:
    config = AuditConfig.read(environ, channel)
    assert not config.on
    assert why in (config.why_off or "")
    kept = Kept(tmp_path, config)
    assert kept.recorder.record(kinds.stopped(SUBJECT)) is False
    assert not kept.path.exists()


@pytest.mark.parametrize(
    "url", ["https://slack.example/api", "http://127.0.0.13:8080/api/", "http://localhost/"]
)
def test_it_is_on_with_a_channel_and_a_token(url: str) -> None:
    config = AuditConfig.read({"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": url}, "C1")
    assert config.on
    assert config.api_url.endswith("/")
    assert TOKEN not in repr(config)


def test_the_environments_channel_wins() -> None:
    config = AuditConfig.read({"SLACK_BOT_TOKEN": TOKEN, "SLACK_AUDIT_CHANNEL": "C2"}, "C1")
    assert config.channel == "C2"


def test_a_process_has_one_recorder_of_a_channel(tmp_path: Path) -> None:
    environ = {"SLACK_BOT_TOKEN": TOKEN, "XDG_STATE_HOME": str(tmp_path)}
    first = recorder_of("C1", print, environ=environ)
    assert recorder_of("C1", print, environ=environ) is first
    assert recorder_of("C1", print, environ=environ | {"SLACK_AUDIT": "false"}) is not first
    assert not recorder_of("C1", print, environ=environ | {"SLACK_AUDIT": "false"}).config.on
