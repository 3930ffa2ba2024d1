# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PYTHON_ARGCOMPLETE_OK
"""Where the console scripts begin."""

from __future__ import annotations

import os
import sys

__all__ = ["fleet_main", "main"]


def main() -> None:
    """Run dx-dispatch and exit with its code."""
    _run("dx-dispatch")


def fleet_main() -> None:
    """Run dx-fleet and exit with its code."""
    _run("dx-fleet")


def _run(program: str) -> None:
    try:
        from ..launch import fast_start

        fast_start.collect_no_garbage()
        from . import app

        if "_ARGCOMPLETE" in os.environ:  # a shell asks how the line goes on
            from argcomplete import autocomplete

            autocomplete(app.completed(program))
        code = (app.run_dispatch if program == "dx-dispatch" else app.run_fleet)(sys.argv[1:])
    except KeyboardInterrupt:  # in the middle of an import; all later ones are shown as errors are
        code = 130
    sys.exit(code)
