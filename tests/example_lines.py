# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines that README, the documents, the playbooks' heads and ``--help`` show, as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.dx.fleet.plugins.plugin_utils.cli.command_names import command_called, command_names

from tests.command import CHECKOUT

__all__ = ["lines"]

COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "dx" / "fleet"
# Indented by four as a block of code, or a comment of a playbook. What make demo prints is no example.
_LINE = re.compile(r"^(?: {4}|#   | {2}(?=dx-))((?:dx-dispatch|dx-fleet|ansible-playbook) .*)$", re.MULTILINE)


def lines() -> list[str]:
    """Each line once, in the order of the files."""
    found = [line for text in _texts() for line in _LINE.findall(text)]
    return list(dict.fromkeys(re.sub(r"\s+#.*$", "", line).strip() for line in found))


def _texts() -> Iterator[str]:
    for path in _files():
        yield path.read_text()
    for name in ("dispatch", *command_names()):
        yield command_called(name).examples


def _files() -> Iterator[Path]:
    yield CHECKOUT / "README.md"
    yield COLLECTION / "README.md"
    yield from sorted((COLLECTION / "docs").rglob("*.md"))
    yield from sorted((COLLECTION / "playbooks").glob("*.yml"))
