# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent waits for is found in the whole family, and answered once."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.reply import Request, reply, waiting_in

from tests.unit.fake_opencode import FakeOpenCode

ASKED = {"id": "per_1", "sessionID": "ses_1", "permission": "bash", "patterns": ["make deploy"]}
QUESTION = {
    "id": "que_1",
    "sessionID": "ses_1",
    "questions": [{"question": "Where?", "options": [{"label": "staging"}, {"label": "production"}]}],
}


@pytest.fixture
def fake() -> FakeOpenCode:
    server = FakeOpenCode()
    server.session("ses_1").status = {"type": "busy"}
    return server


async def waiting(fake: FakeOpenCode) -> list[Request]:
    async with fake.client() as server:
        return await waiting_in(server, "ses_1")


@pytest.mark.parametrize(
    ("asked", "answer", "sent"),
    [
        ("permission", "once", ("per_1", "reply", {"reply": "once"})),
        ("permission", "always", ("per_1", "reply", {"reply": "always"})),
        ("permission", "reject", ("per_1", "reply", {"reply": "reject"})),
        ("permission", "use make test", ("per_1", "reply", {"reply": "reject", "message": "use make test"})),
        ("question", "staging", ("que_1", "reply", {"answers": [["staging"]]})),
        ("question", "my laptop", ("que_1", "reply", {"answers": [["my laptop"]]})),
        ("question", "reject", ("que_1", "reject", None)),
    ],
)
async def test_each_answer_is_what_opencode_takes(
    fake: FakeOpenCode, asked: str, answer: str, sent: tuple[str, str, Any]
) -> None:
    (fake.permissions if asked == "permission" else fake.questions).append(
        dict(ASKED if asked == "permission" else QUESTION)
    )
    (found,) = await waiting(fake)
    async with fake.client() as server:
        assert await reply(server, found, [answer])
        assert not await reply(server, found, [answer])  # somebody was faster
    assert fake.replies == [sent]


async def test_what_is_wanted_is_shown_with_its_options(fake: FakeOpenCode) -> None:
    fake.permissions.append(dict(ASKED))
    fake.questions.append(dict(QUESTION))
    shown = [each.as_dict() for each in await waiting(fake)]
    assert [(each["kind"], each["options"]) for each in shown] == [
        ("permission", ["once", "always", "reject"]),
        ("question", ["staging", "production"]),
    ]
    assert shown[0]["words"] == "permission bash: make deploy"


async def test_a_subagents_question_is_the_sessions(fake: FakeOpenCode) -> None:
    fake.session("ses_2", parent="ses_1").status = {"type": "busy"}
    fake.permissions.append({**ASKED, "sessionID": "ses_2"})
    assert [each.request.session for each in await waiting(fake)] == ["ses_2"]


async def test_what_nobody_waits_for_any_more_is_not_there(fake: FakeOpenCode) -> None:
    fake.permissions.append(dict(ASKED))
    fake.session("ses_other").status = {"type": "busy"}
    fake.permissions.append({**ASKED, "id": "per_2", "sessionID": "ses_other"})
    fake.sessions["ses_1"].status = None
    assert await waiting(fake) == []


SEVERAL = {
    "id": "que_2",
    "sessionID": "ses_1",
    "questions": [
        {"question": "Where?", "options": [{"label": "staging"}, {"label": "reject"}]},
        {"question": "Which?", "multiple": True, "options": [{"label": "api"}, {"label": "web"}]},
    ],
}


@pytest.mark.parametrize(
    ("answers", "sent"),
    [
        (["staging", "api"], [["staging"], ["api"]]),
        (["staging", "api, web"], [["staging"], ["api", "web"]]),
        (["staging", "api, nothing else"], [["staging"], ["api, nothing else"]]),
        (["staging, reject", "web"], [["staging, reject"], ["web"]]),  # only one may be chosen of the first
        (["web"], [["web"], ["web"]]),
        (["reject"], [["reject"], ["reject"]]),  # it is an option here
    ],
)
async def test_each_of_several_questions_gets_its_answer(
    fake: FakeOpenCode, answers: list[str], sent: list[list[str]]
) -> None:
    fake.questions.append(dict(SEVERAL))
    (found,) = await waiting(fake)
    async with fake.client() as server:
        assert await reply(server, found, answers)
    assert fake.replies == [("que_2", "reply", {"answers": sent})]


async def test_too_many_answers_are_refused(fake: FakeOpenCode) -> None:
    fake.questions.append(dict(SEVERAL))
    (found,) = await waiting(fake)
    async with fake.client() as server:
        with pytest.raises(UsageError) as caught:
            await reply(server, found, ["a", "b", "c"])
    assert (caught.value.reason_code, fake.replies) == ("answers_missing", [])
