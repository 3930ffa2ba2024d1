# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directives of a prompt, and the answers that they lead to, without any server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.conversation import Conversation, Reply
from tests.lab.directives import AWKWARD_TEXT, LIE, DirectiveError, Gate, Pace, ToolCall, Usage, bash, parse


def test_a_text_without_directives_has_no_script() -> None:
    assert parse("Fix the bug in @src/main.py\n@someone said so") is None


def test_each_tool_directive_is_a_step_and_a_final_answer_follows() -> None:
    script = parse("Please:\n@bash make test\n  @write a b.txt <<< one\\ntwo\n@question Which? | red | blue")
    assert script is not None
    first, second, third, last = script.steps
    assert first.tools == (bash("make test"),)
    assert second.tools == (ToolCall("write", {"filePath": "a b.txt", "content": "one\ntwo"}),)
    question: Any = third.tools[0].arguments["questions"]
    assert [option["label"] for option in question[0]["options"]] == ["red", "blue"]
    assert last.tools == ()


def test_work_on_a_repository() -> None:
    script = parse("@edit a.py <<< return 1 ==> return 2\n@commit It's done\n@push\n@push other HEAD:x\n@lie")
    assert script is not None
    calls = [call for step in script.steps for call in step.tools]
    assert calls == [
        ToolCall("read", {"filePath": "a.py"}),
        ToolCall("edit", {"filePath": "a.py", "oldString": "return 1", "newString": "return 2"}),
        bash("git add --all && git commit --message 'It'\"'\"'s done'"),
        bash("git push origin HEAD"),
        bash("git push other HEAD:x"),
    ]
    assert script.steps[-1].text == (LIE,)


def test_what_is_said_before_a_tool_goes_with_its_call() -> None:
    script = parse("@say looking\n@bash ls\n@say one\n@say two")
    assert script is not None
    assert [(step.text, len(step.tools)) for step in script.steps] == [(("looking",), 1), (("one", "two"), 0)]


def test_a_failure_belongs_to_the_step_that_follows_it() -> None:
    script = parse("@bash a\n@status 429 retry-after=7 times=2\n@drop\n@bash b")
    assert script is not None
    assert [step.gates for step in script.steps] == [
        (),
        (Gate("status", 429, retry_after="7", times=2), Gate("drop")),
        (),
    ]


def test_options_of_the_answer() -> None:
    script = parse("@slow 5 0.25\n@length\n@usage 1000 50\n@silent 2")
    assert script is not None
    (step,) = script.steps
    assert (step.pace, step.finish, script.usage) == (Pace(5, 0.25), "length", Usage(1000, 50))
    assert step.gates == (Gate("silent", seconds=2.0),)


@pytest.mark.parametrize(
    "text",
    [
        "@edit a.py",
        "@edit a.py <<< one",
        "@status",
        "@status abc",
        "@status 200",
        "@status 500 tmes=1",
        "@slow 3",
        "@slow 0 1",
        "@write path",
        "@usage 1",
        "@bash",
        "@question",
        "@say hello\n@sya typo",
    ],
)
def test_a_directive_that_cannot_be_understood_is_an_error(text: str) -> None:
    with pytest.raises(DirectiveError):
        parse(text)


def test_the_step_follows_from_the_assistant_turns_since_the_prompt() -> None:
    prompt = "@bash first\n@bash second\n@say over"
    turns = [_tool_turn("x")] * 2
    assert _reply(prompt).tools == (bash("first"),)
    assert _reply(prompt, *turns[:1]).tools == (bash("second"),)
    assert _reply(prompt, *turns).text == "over"


def test_earlier_prompts_do_not_count() -> None:
    earlier = [
        {"role": "user", "content": "@bash old"},
        *_tool_turn("x"),
        {"role": "assistant", "content": "y"},
    ]
    assert _reply("@bash new", before=earlier).tools == (bash("new"),)


def test_a_turn_without_a_last_word_ends_with_its_tools_results() -> None:
    reply = _reply("@bash one\n@bash two", _tool_turn("out\n1 passed\n"), _tool_turn(""))
    assert reply.text == "Done.\n- 1 passed\n- (no output)"


def test_a_loop_never_ends() -> None:
    prompt = "@say hm\n@loop\n@say never"
    for turns in (0, 1, 50):
        assert _reply(prompt, *[_tool_turn("")] * turns).tools == (bash("true"),)


def test_an_answer_without_finish_stays_so() -> None:
    for turns in (0, 1, 9):
        assert _reply("@say again\n@nofinish", *[_text_turn("again")] * turns).finish is None


def test_recall_lists_what_the_user_said_before() -> None:
    before = [{"role": "user", "content": "the word is plum"}, {"role": "assistant", "content": "noted"}]
    assert _reply("@recall", before=before).text == "Said before:\n1. the word is plum"
    assert _reply("@recall").text == "Nothing was said before."


def test_awkward_text_survives() -> None:
    assert _reply("@unicode").text == AWKWARD_TEXT


@pytest.mark.parametrize(
    "text", ["Run make test", "make test", "please run `make test`.", "First make sure; then make test"]
)
def test_a_plain_text_that_says_make_runs_it(text: str) -> None:
    assert _reply(text).tools == (bash("make test"),)


@pytest.mark.parametrize("text", ["Fix linting", "make sure that it works", "make it so"])
def test_any_other_plain_text_is_done(text: str) -> None:
    assert _reply(text).text == f"Done: {text}"


@pytest.mark.parametrize(
    ("target", "output", "report"),
    [
        ("test", "Ran 3 tests\n\nOK\n", "tests passed: OK"),
        ("lint", "lint passed\n", "make lint passed: lint passed"),
        (
            "test",
            "FAILED (failures=1)\nmake: *** [Makefile:5: test] Error 1\n",
            "make test failed with exit 2: make: *** [Makefile:5: test] Error 1",
        ),
        (
            "nope",
            "make: *** No rule to make target 'nope'.  Stop.",
            "make nope failed with exit 2: make: *** No rule to make target 'nope'.  Stop.",
        ),
    ],
)
def test_the_report_of_make_is_true(target: str, output: str, report: str) -> None:
    assert _reply(f"Run make {target}", _tool_turn(output)).text == report


def test_a_title_is_asked_for_by_its_system_prompt() -> None:
    title = Conversation(
        [
            {"role": "system", "content": "You are a title generator. You output ONLY a thread title."},
            {"role": "user", "content": "Generate a title for this conversation:\n"},
            {"role": "user", "content": "@bash rm -rf x"},
        ]
    )
    assert title.is_title_request
    assert title.reply().tools == ()


def test_content_in_parts_is_read_as_well() -> None:
    parts = [{"type": "text", "text": "@say a"}, {"type": "text", "text": "@say b"}]
    assert Conversation([{"role": "user", "content": parts}]).reply().text == "a\nb"


def _reply(prompt: str, *turns: list[dict[str, Any]], before: list[dict[str, Any]] | None = None) -> Reply:
    since = [message for turn in turns for message in turn]
    return Conversation([*(before or []), {"role": "user", "content": prompt}, *since]).reply()


def _tool_turn(output: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": "", "tool_calls": [{}]}, {"role": "tool", "content": output}]


def _text_turn(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]
