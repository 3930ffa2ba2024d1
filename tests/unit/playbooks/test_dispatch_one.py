# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flow is a sequence that a newcomer reads aloud: it decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.command import CHECKOUT

FLOW = CHECKOUT / "playbooks" / "tasks" / "dispatch_one.yml"
TEXT = FLOW.read_text()


def tasks_of(node: Any) -> Iterator[dict[str, Any]]:
    """Every task, also those in blocks."""
    for task in node:
        if "block" in task:
            for part in ("block", "rescue", "always"):
                yield from tasks_of(task.get(part, []))
        else:
            yield task


TASKS = list(tasks_of(yaml.safe_load(TEXT)))


def test_it_has_at_most_50_lines() -> None:
    assert len(TEXT.splitlines()) <= 50


def test_every_step_is_named_in_words() -> None:
    assert TASKS
    assert all(re.fullmatch(r"[A-Z][a-z]+( [a-z]+)+", task["name"]) for task in TASKS)


def test_a_condition_is_one_name() -> None:
    conditions = [task["when"] for task in TASKS if "when" in task]
    assert conditions
    assert all(re.fullmatch(r"(not )?[a-z_]+(\.[a-z_]+)?( is defined)?", each) for each in conditions)


def test_a_value_is_one_name() -> None:
    """No default of ours, no omit, no choice between two values: a module decides which one wins."""
    values = re.findall(r"{{ (.*?) }}", TEXT)
    calls = ("lookup('dx.fleet.request')", "dx_tracker | default('localhost')")
    plain = r"[a-z_]+(\.[a-z_]+)?|\[[a-z_, ]+\] \| dx\.fleet\.[a-z]+"
    assert [value for value in values if value not in calls and not re.fullmatch(plain, value)] == []
    assert "omit" not in TEXT
    assert "{%" not in TEXT
