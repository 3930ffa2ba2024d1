# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time is a port: a test brings a clock of its own, and patches no module's ``time`` or ``asyncio``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
MODULES = ("time", "asyncio")
PATCHES = ("setattr", "patch", "object", "setitem", "delattr")


def patched(source: str) -> list[str]:
    """What a test puts in the place of ``time`` or ``asyncio``, or of something in them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _name(node.func).split(".")[-1] in PATCHES:
            words = [
                argument.value if isinstance(argument, ast.Constant) else _name(argument)
                for argument in node.args[:2]
            ]
            if any(
                str(word).split(".")[0] in MODULES or str(word).split(".")[-1] in MODULES for word in words
            ):
                found.append(ast.unparse(node))
    return found


def _name(node: ast.expr) -> str:
    """``a.b.c`` of such an expression, else nothing."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_no_test_patches_the_time_of_a_module() -> None:
    found = {path.name: patched(path.read_text()) for path in TESTS.rglob("*.py")}
    assert {name: patches for name, patches in found.items() if patches} == {}


@pytest.mark.parametrize(
    "line",
    [
        'monkeypatch.setattr(server_watch, "time", clock)',
        'monkeypatch.setattr("time.time_ns", lambda: 5)',
        'monkeypatch.setattr(time, "monotonic", lambda: 5)',
        'monkeypatch.setattr(asyncio, "sleep", sleep)',
        'monkeypatch.setattr(client.asyncio, "sleep", sleep)',
        'mock.patch("ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place.time")',
        'mock.patch.object(time, "sleep")',
    ],
)
def test_such_a_patch_is_seen(line: str) -> None:
    assert patched(line) == [ast.unparse(ast.parse(line, mode="eval"))]


def test_another_patch_is_none() -> None:
    assert patched('monkeypatch.setattr(pace, "LOOK_EVERY_S", 0.1)') == []
