# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command is: its options, and the function that turns them into a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .options import Options
from .report import Report

__all__ = ["Command"]

O = TypeVar("O", bound=Options)  # noqa: E741


@dataclass(frozen=True)
class Command(Generic[O]):
    """A command. A module in ``commands/`` has one as ``COMMAND``; dx-fleet finds it by the module's name.

    Args:
        options: The dataclass of what may be typed; its docstring is the text of ``--help``.
        run: Does it. A FleetError that it raises is shown, with the exit code of its state.
        usage: What follows its name, such as ``[VM ...]``.
        examples: Further lines of ``--help``.
    """

    options: type[O]
    run: Callable[[O], Report]
    usage: str = ""
    examples: str = ""

    @property
    def summary(self) -> str:
        """The first line of its help."""
        return (self.options.__doc__ or "").partition("\n")[0]
