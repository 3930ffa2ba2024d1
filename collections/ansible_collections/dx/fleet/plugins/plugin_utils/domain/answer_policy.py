# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules by which a fleet answers permissions that its owner trusts, or never wants. Plain data, no I/O.

It fails closed: what no rule names is asked of a person, what is half allowed is not allowed, and whatever a
rule to deny names is denied.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["AnswerPolicy", "Decision", "Rule"]

# A shell makes several commands out of what has one of these, and a path with .. leads elsewhere: a rule must
# show them itself.
_MORE = re.compile(r"[;&|<>$`()\n\r]|(?:^|(?<=/))\.\.(?=/|$)")


@dataclass(frozen=True)
class Rule:
    """Allow or deny a kind of permission, such as ``bash``, for what matches a pattern.

    In both names ``*`` stands for any text and ``?`` for one character, as in OpenCode's own rules.
    """

    action: Literal["allow", "deny"]
    permission: str
    pattern: str = "*"

    @property
    def words(self) -> str:
        """The rule in a line."""
        return f"{self.action} {self.permission}: {self.pattern}"

    def names(self, permission: str, pattern: str) -> bool:
        """Whether it is about that."""
        if not _matches(self.permission, permission) or not _matches(self.pattern, pattern):
            return False
        return self.action == "deny" or self.pattern == "*" or not _says_more(self.pattern, pattern)


@dataclass(frozen=True)
class Decision:
    """The answer to a permission, and the rule that gave it."""

    allowed: bool
    rule: Rule


@dataclass(frozen=True)
class AnswerPolicy:
    """All rules of a VM."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def read(cls, rules: Iterable[Mapping[str, Any]]) -> AnswerPolicy:
        """The policy out of checked data, as the host variable ``dx_answer_policy`` has it."""
        return cls(tuple(Rule(each["action"], each["permission"], each["pattern"]) for each in rules))

    def as_list(self) -> list[dict[str, str]]:
        """The reverse of :meth:`read`."""
        return [asdict(rule) for rule in self.rules]

    def decide(self, permission: str, patterns: Sequence[str]) -> Decision | None:
        """What the rules say to a permission; None: ask a person.

        Args:
            permission: Its kind, as OpenCode reports it.
            patterns: What it is wanted for; all of them are needed.
        """
        found: list[Rule] = []
        for pattern in patterns:
            named = [rule for rule in self.rules if rule.names(permission, pattern)]
            if denied := next((rule for rule in named if rule.action == "deny"), None):
                return Decision(False, denied)
            found += named[:1]
        return Decision(True, found[0]) if found and len(found) == len(patterns) else None


def _matches(pattern: str, text: str) -> bool:
    # No pattern of fnmatch's takes longer the longer a text is than a look at each of its characters does.
    return re.match(fnmatch.translate(pattern.replace("[", "[[]")), text) is not None


def _says_more(pattern: str, text: str) -> bool:
    """Whether what was matched does more than the pattern shows: another command, or a way upwards."""
    return _MORE.findall(text) != _MORE.findall(pattern)
