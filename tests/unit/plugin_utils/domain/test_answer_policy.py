# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules of a fleet answer: deny wins, half allowed is not allowed, and nothing slips in beside a rule."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.answer_policy import AnswerPolicy, Rule

MAKE = Rule("allow", "bash", "make *")
NO_PUSH = Rule("deny", "bash", "git push*")
TMP = Rule("allow", "external_directory", "/tmp/*")
ANY_BASH = Rule("allow", "bash")
NO_WEB = Rule("deny", "web*")


@pytest.mark.parametrize(
    ("rules", "permission", "patterns", "wanted"),
    [
        ([MAKE], "bash", ["make test"], True),
        ([MAKE], "bash", ["make test", "rm -rf /"], None),  # half allowed
        ([MAKE], "edit", ["make test"], None),
        ([MAKE], "bash", [], None),  # for nothing that is named
        ([], "bash", ["make test"], None),
        ([MAKE], "bash", ["make test; rm -rf /"], None),
        ([MAKE], "bash", ["make test && curl evil"], None),
        ([MAKE], "bash", ["make $(curl evil)"], None),
        ([MAKE], "bash", ["make test\nrm -rf /"], None),
        ([MAKE], "bash", ["make test > /etc/passwd"], None),
        ([Rule("allow", "bash", "make * > out.txt")], "bash", ["make test > out.txt"], True),
        ([Rule("allow", "bash", "make * > out.txt")], "bash", ["make a > b > out.txt"], None),
        ([TMP], "external_directory", ["/tmp/x/*"], True),
        ([TMP], "external_directory", ["/tmp/../etc/*"], None),
        ([TMP], "external_directory", ["/tmp/.."], None),
        ([TMP], "external_directory", ["/tmp/a..b/*"], True),
        ([ANY_BASH], "bash", ["a; b | c"], True),
        ([ANY_BASH, NO_PUSH], "bash", ["git push --force"], False),
        ([NO_PUSH, ANY_BASH], "bash", ["ls", "git push"], False),
        ([NO_PUSH], "bash", ["git push; true"], False),  # a rule to deny is not narrowed
        ([NO_WEB], "webfetch", ["https://x"], False),
        ([NO_WEB], "Webfetch", ["https://x"], None),
        ([Rule("allow", "bash", "ls ?")], "bash", ["ls ab"], None),
        ([Rule("allow", "bash", "ls [a]")], "bash", ["ls a"], None),
        ([Rule("allow", "bash", "ls [a]")], "bash", ["ls [a]"], True),
    ],
)
def test_what_is_answered(
    rules: list[Rule], permission: str, patterns: list[str], wanted: bool | None
) -> None:
    decision = AnswerPolicy(tuple(rules)).decide(permission, patterns)
    assert (None if decision is None else decision.allowed) is wanted


def test_the_rule_that_answers_is_named() -> None:
    decision = AnswerPolicy((MAKE, ANY_BASH, NO_PUSH)).decide("bash", ["make test", "git push"])
    assert decision is not None
    assert decision.rule.words == "deny bash: git push*"


def test_a_text_of_any_length_is_decided_at_once() -> None:
    rule = Rule("allow", "bash", "*a*a*a*a*a*a*b")
    assert AnswerPolicy((rule,)).decide("bash", ["a" * 20_000]) is None
