# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thread is printed as a person would see it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.slack import SlackWorkspace
from tests.lab.slack.show import main, shown


def without_times(text: str) -> list[str]:
    """The lines, with HH:MM for the time of day."""
    return re.sub(r"\b\d\d:\d\d\b", "HH:MM", text).splitlines()


def test_a_thread(slack: SlackWorkspace) -> None:
    bot, jane = slack.client(), slack.client(slack.reader_token)
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "epyc6: <working>"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "*Repo* a &amp; b"}]},
        {"type": "divider"},
        {
            "type": "context",
            "elements": [{"type": "mrkdwn", "text": "4 s"}, {"type": "mrkdwn", "text": "$1"}],
        },
        {
            "type": "actions",
            "elements": [
                {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "Abort"}}
            ],
        },
    ]
    root = bot.chat_postMessage(channel=slack.channel, text="for notifications", blocks=blocks)["ts"]
    reply = {"channel": slack.channel, "thread_ts": root}
    bot.chat_postMessage(**reply, text="one\ntwo \x1b[31mred\u202e")
    ts = jane.chat_postMessage(**reply, text="why")["ts"]
    jane.chat_update(channel=slack.channel, ts=ts, text="why?")
    (thread,) = slack.threads()
    assert without_times(shown(thread, slack.names())) == [
        "dx-fleet APP  HH:MM",
        "  epyc6: <working>",
        "  *Repo* a & b",
        "  ----------------------------------------",
        "  4 s  $1",
        "  [Abort]",
        "  2 replies",
        "  | dx-fleet APP  HH:MM",
        "  |   one",
        "  |   two [31mred",
        "  | jane  HH:MM",
        "  |   why? (edited)",
    ]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<!channel> stop", "@channel stop"),
        ("&lt;!channel&gt; stop", "<!channel> stop"),
        ("<https://example.org/x|the log>", "the log (https://example.org/x)"),
        ("<https://example.org/x>", "https://example.org/x"),
        ("<#C1|general>", "#general"),
        ("&amp;lt;", "&lt;"),
    ],
)
def test_what_slack_would_make_of_a_text(slack: SlackWorkspace, text: str, seen: str) -> None:
    slack.client().chat_postMessage(channel=slack.channel, text=text)
    (thread,) = slack.threads()
    assert without_times(shown(thread, {}))[1] == f"  {seen}"


def test_a_mention_has_the_name_of_the_person(slack: SlackWorkspace) -> None:
    jane = slack.client(slack.reader_token).auth_test()["user_id"]
    slack.client().chat_postMessage(channel=slack.channel, text=f"ask <@{jane}>")
    (thread,) = slack.threads()
    assert without_times(shown(thread, slack.names()))[1] == "  ask @jane"


def test_all_threads_of_a_lab(
    slack_lab: Lab, slack: SlackWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("first", "second"):
        slack.client().chat_postMessage(channel=slack.channel, text=text)
    assert main(["--root", str(slack_lab.root)]) == 0
    assert without_times(capsys.readouterr().out) == [
        "dx-fleet APP  HH:MM",
        "  first",
        "",
        "dx-fleet APP  HH:MM",
        "  second",
    ]


def test_where_no_lab_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path / "lab")]) == 1
    assert "no lab runs" in capsys.readouterr().err
