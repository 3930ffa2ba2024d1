# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only one module looks at a status code: everywhere else an answer is what that module made of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CODE = Path(__file__).resolve().parents[2] / "collections/ansible_collections/dx/fleet/plugins"
ONE_PLACE = "plugin_utils/opencode/answers.py"
# Slack's answers are Slack's, and audit/slack decides what they mean.
OTHERS = ("plugin_utils/audit/", "plugin_utils/listener/")
STATUSES = range(100, 600)


def looks(source: str) -> list[str]:
    """Where a source looks at the status of an HTTP answer."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if (isinstance(node, ast.Attribute) and node.attr in ("status_code", "is_success", "is_error")) or (
            isinstance(node, ast.Attribute) and node.attr == "raise_for_status"
        ):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Compare):
            values = [each for side in (node.left, *node.comparators) for each in ast.walk(side)]
            if any(_is_status(each) for each in values) and _speaks_of_status(values):
                found.append(ast.unparse(node))
    return found


def _is_status(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value in STATUSES


def _speaks_of_status(nodes: list[ast.AST]) -> bool:
    names = [node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in nodes]
    return any("status" in name for name in names)


def sources() -> list[Path]:
    return [
        path
        for path in sorted(CODE.rglob("*.py"))
        if not path.relative_to(CODE).as_posix().startswith(OTHERS)
    ]


def test_only_one_place_looks_at_a_status_code() -> None:
    found = {path.relative_to(CODE).as_posix(): looks(path.read_text()) for path in sources()}
    assert {name for name, places in found.items() if places} == {ONE_PLACE}


@pytest.mark.parametrize(
    "line",
    ["if reply.status != 204: pass", "if 200 <= response.status_code < 300: pass", "r.raise_for_status()"],
)
def test_such_a_look_is_seen(line: str) -> None:
    assert looks(line)


@pytest.mark.parametrize(
    "line", ["if width > 200: pass", "if status == 'busy': pass", "if exit_code == 3: pass"]
)
def test_other_comparisons_are_none(line: str) -> None:
    assert looks(line) == []
