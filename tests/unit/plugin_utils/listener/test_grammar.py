# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which messages are commands, and what they ask for."""

from __future__ import annotations

import random

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.grammar import (
    Answer,
    Dispatch,
    Help,
    Retry,
    Status,
    Stop,
    command_in,
    without_mention,
)

WITH_A_TARGET = [
    ("Stop the epyc6 task, they're on wrong branch", Stop("epyc6", "they're on wrong branch")),
    ("stop epyc6", Stop("epyc6")),
    ("STOP epyc6!", Stop("epyc6")),
    ("stop all", Stop("all")),
    ("abort ses_dx-01M89SA9", Stop("ses_dx-01M89SA9")),
    ("abort ses_abc: wrong branch.", Stop("ses_abc", "wrong branch")),
    ("stop bd-a1b2.3 because it broke main", Stop("bd-a1b2.3", "because it broke main")),
    ("stop epyc6 - wrong branch", Stop("epyc6", "wrong branch")),
    ("stop epyc6 \u2014 wrong branch", Stop("epyc6", "wrong branch")),
    ("stop homedesktop-wsl session; they\nbroke it", Stop("homedesktop-wsl", "they broke it")),
    ("stop bd-a1b2@2-k3j9, a &amp; b", Stop("bd-a1b2@2-k3j9", "a & b")),
    ("stop <http://epyc6.example.ts.net|epyc6.example.ts.net>", Stop("epyc6.example.ts.net")),
    ("retry bd-a1b2", Retry("bd-a1b2")),
    ("retry bd-a1b2 on branch feature-xyz", Retry("bd-a1b2", "feature-xyz")),
    ("retry bd-a1b2 on feature/xyz: use the new API", Retry("bd-a1b2", "feature/xyz", "use the new API")),
    ("switch to feature-xyz and retry bd-a1b2", Retry("bd-a1b2", "feature-xyz")),
    ("answer epyc6 once", Answer("epyc6", "once")),
    ("answer bd-a1b2 ALWAYS", Answer("bd-a1b2", "always")),
    ('answer ses_abc "the second one"', Answer("ses_abc", "the second one", is_text=True)),
    ("answer ses_abc \u201cthe second one\u201d", Answer("ses_abc", "the second one", is_text=True)),
    ("status", Status()),
    ("status epyc6?", Status("epyc6")),
    ("help", Help()),
    ("dispatch epyc6 affordabot Run make test", Dispatch("epyc6", "affordabot", "Run make test")),
    ("dispatch to epyc6 affordabot: a\n  b", Dispatch("epyc6", "affordabot", "a\n  b")),
]

IN_A_THREAD_ONLY = [
    ("stop", Stop(None)),
    ("Abort!", Stop(None)),
    ("stop it", Stop(None)),
    ("stop the task, wrong branch", Stop(None, "wrong branch")),
    ("stop, they're on wrong branch", Stop(None, "they're on wrong branch")),
    ("retry", Retry(None)),
    ("Switch to feature-xyz branch and retry", Retry(None, "feature-xyz")),
    ("switch to branch feature-xyz, and retry it: be careful", Retry(None, "feature-xyz", "be careful")),
    ("retry on branch b", Retry(None, "b")),
    ("retry: run the tests first", Retry(None, None, "run the tests first")),
    ("answer once", Answer(None, "once")),
    ("answer: reject", Answer(None, "reject")),
    ('answer "42"', Answer(None, "42", is_text=True)),
]

NO_COMMANDS = [
    "",
    "stopped epyc6",
    "don't stop epyc6",
    "do not stop epyc6",
    "please stop using tabs",
    "stop using tabs",
    "stop the world I want to get off",
    "Please stop epyc6",
    "can you stop epyc6?",
    "I said stop epyc6",
    "&gt; stop epyc6",
    "> stop epyc6",
    '"stop epyc6"',
    "`stop epyc6`",
    "```stop epyc6```",
    "*stop* epyc6",
    "~stop epyc6~",
    "st\u200bop epyc6",
    "stop epyc6\u200b",
    "stop ep\u200byc6",
    "stop \u202eepyc6",
    "stop epyc6 macmini",
    "stop epyc6\n\nis what I wrote yesterday",
    "stop $(reboot)",
    "stop --all",
    "stop <@U0SOMEONE>",
    "stop <!channel>",
    "retry on branch -x",
    "retry on branch a..b: now",
    "retry on branch a b",
    "retry bd-a1b2 on branch a..b",
    "switch to a and retry on branch b",
    "retrying",
    "answer",
    "answer yes",
    'answer ""',
    "answers once",
    "dispatch epyc6",
    "dispatch epyc6 affordabot",
    "status of the union",
    "help me",
]


@pytest.mark.parametrize(("text", "command"), WITH_A_TARGET)
@pytest.mark.parametrize("in_thread", [False, True])
def test_a_command_with_its_target_holds_everywhere(text, command, in_thread):
    assert command_in(text, in_thread=in_thread) == command


@pytest.mark.parametrize(("text", "command"), IN_A_THREAD_ONLY)
def test_in_a_thread_the_target_is_its_dispatch(text, command):
    assert command_in(text, in_thread=True) == command


@pytest.mark.parametrize(("text", "command"), IN_A_THREAD_ONLY)
def test_outside_a_thread_a_target_must_be_named(text, command):
    assert command_in(text, in_thread=False) is None


@pytest.mark.parametrize("text", NO_COMMANDS)
@pytest.mark.parametrize("in_thread", [False, True])
def test_what_is_no_command_asks_for_nothing(text, in_thread):
    assert command_in(text, in_thread=in_thread) is None


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<@U0BOT> stop epyc6", "stop epyc6"),
        ("<@U0BOT>, stop epyc6", "stop epyc6"),
        ("<@U0BOT|dx-fleet>: stop epyc6", "stop epyc6"),
        ("stop epyc6 <@U0BOT>", None),
        ("<@U0OTHER> stop epyc6", None),
        ("stop epyc6", None),
    ],
)
def test_a_mention_of_the_bot_stands_at_the_beginning(text, rest):
    assert without_mention(text, "U0BOT") == rest


def test_ten_thousand_random_messages_ask_for_nothing():
    text_of_a_day = """please don't using tabs, the epyc6 task is on branch main and later: once \u200b \u2019 <@U1>
        &gt; ' ` * ok no yes we they macmini ses_abc bd-a1b2 stop abort retry answer dispatch status help switch"""
    words = text_of_a_day.split()
    verbs = {"stop", "abort", "retry", "answer", "dispatch", "status", "help", "switch"}
    draw = random.Random(16)
    for _ in range(10_000):
        first = draw.choice([word for word in words if word not in verbs and "<" not in word])
        text = " ".join([first, *(draw.choice(words) for _ in range(draw.randint(0, 12)))])
        assert command_in(text, in_thread=True) is None, text
