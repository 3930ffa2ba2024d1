# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a figure is, and where it is measured."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import Lab

from .processes import Run, run

__all__ = ["BIN", "Figure", "Setting"]

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Figure:
    """One measured value, in ``unit``, and what it may be at most."""

    name: str
    value: float
    limit: float
    unit: str
    how: str


@dataclass(frozen=True)
class Setting:
    """A running lab and how often to measure."""

    lab: Lab
    rounds: int

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.lab.env}

    def dispatch(self, *words: str, **env: str) -> Run:
        """One run of the command with ``--json``; ``env`` is added to its environment."""
        return run([str(BIN / "dx-dispatch"), *words, "--json"], self.environment | env)

    def bare_playbook(self) -> Run:
        """``ansible-playbook`` with one task that does nothing."""
        with tempfile.TemporaryDirectory() as folder:
            playbook = Path(folder, "bare.yml")
            playbook.write_text(
                "- hosts: localhost\n  gather_facts: no\n  tasks:\n    - ansible.builtin.debug: {msg: hi}\n"
            )
            words = [str(BIN / "ansible-playbook"), "-i", "localhost,", str(playbook)]
            return run(words, self.environment)
