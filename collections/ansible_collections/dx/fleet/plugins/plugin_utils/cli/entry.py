# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the console script begins."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]


def main() -> None:
    """Run dx-dispatch and exit with its code."""
    # Starting makes hundreds of thousands of objects and no garbage; collecting costs a tenth of the start.
    gc.disable()
    try:
        from .app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # in the middle of an import; all later ones are told
        code = 130
    sys.exit(code)
