# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that there are: each is a module of ``commands/``, and is called as its module is."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from . import commands
from .command import Command

__all__ = ["DISPATCH", "FLEET", "command_called", "command_names"]

DISPATCH = "dx-dispatch"
FLEET = "dx-fleet"


def command_names() -> list[str]:
    """The commands of dx-fleet: all modules but that of dx-dispatch and private ones."""
    found = (module.name for module in pkgutil.iter_modules(commands.__path__))
    return sorted(name for name in found if name != "dispatch" and not name.startswith("_"))


def command_called(name: str) -> Command[Any]:
    """The command of a module; only this one is imported."""
    found: Command[Any] = import_module(f"{commands.__name__}.{name}").COMMAND
    return found
