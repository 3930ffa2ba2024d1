# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the Slack emulator and the Node that runs it; both come by ``make setup``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from ..binaries import CHECKOUT, BinaryMissingError

__all__ = ["find_emulator", "find_node", "pinned_emulator"]


def pinned_emulator() -> str:
    """The version of npm's ``emulate`` that the lab is made for."""
    package = json.loads((Path(__file__).parent / "npm" / "package.json").read_text())
    return str(package["dependencies"]["emulate"])


def find_node(environ: Mapping[str, str] = os.environ, checkout: Path = CHECKOUT) -> Path:
    """``$DX_TEST_NODE``, else the one that ``make setup`` installed. Never the machine's: it may be too old.

    Raises:
        BinaryMissingError: there is none.
    """
    chosen = environ.get("DX_TEST_NODE")
    node = Path(chosen) if chosen else checkout / ".tools" / "nodejs" / "wheel" / "bin" / "node"
    if not os.access(node, os.X_OK):
        raise BinaryMissingError(
            f"DX_TEST_NODE={chosen} is not an executable file"
            if chosen
            else "no Node for the Slack emulator here: run `make setup`, or set DX_TEST_NODE to a node >= 22.15"
        )
    return node


def find_emulator(checkout: Path = CHECKOUT) -> Path:
    """The emulator's script, of the pinned version: another one of that name is another program.

    Raises:
        BinaryMissingError: there is none.
    """
    package = checkout / ".tools" / "slack" / "node_modules" / "emulate"
    wanted = pinned_emulator()
    try:
        found = json.loads((package / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):
        found = None
    if found != wanted:
        raise BinaryMissingError(f"no Slack emulator (npm emulate {wanted}) here: run `make setup`")
    return package / "dist" / "index.js"
