# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person types after dx-dispatch, as the command gets it."""

from __future__ import annotations

from ansible_collections.dx.fleet.plugins.plugin_utils.cli.dispatch_options import DispatchOptions
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.parser import parse

__all__ = ["typed"]


def typed(*words: str) -> DispatchOptions:
    """The options of a command line.

    Raises:
        UsageError: They can't be meant.
    """
    return parse(DispatchOptions, "dx-dispatch", words, "dx-dispatch")
