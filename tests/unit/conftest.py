# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the unit tests draw examples and try again: few, without pauses, and without a limit of time, which a
loaded machine would miss."""

from __future__ import annotations

import stamina
from hypothesis import settings

settings.register_profile("unit", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("unit")

stamina.set_testing(True, attempts=20, cap=True)
