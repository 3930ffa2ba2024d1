# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole fleet on one machine, for the tests and the demo.

Three real OpenCode servers, a model that does what the prompt says (see :mod:`tests.lab.directives`), sample
repositories and, where asked for, a Slack workspace (see :mod:`tests.lab.slack`)::

    with Lab() as lab:
        lab.vms["epyc6"].url, lab.model.prompts("Run make test"), lab.env

By hand: ``python -m tests.lab up``.
"""

from __future__ import annotations

from .binaries import BinaryMissingError
from .lab import Lab, LabError, LabVM
from .scripted_model import Call, ScriptedModel

__all__ = ["BinaryMissingError", "Call", "Lab", "LabError", "LabVM", "ScriptedModel"]
