# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claims of the tracker, read while Ansible starts: the first task of a stop waits for them.

A stop has its claim 0.07 s earlier so, with a `bd` that takes 0.2 s (1.0.6-dev); where all cores are busy, no
earlier.
``DX_FAST_START=0`` turns it off, as the rest of :mod:`..launch.fast_start`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ...module_utils.specs import BEADS_INFO, complete
from ..config.fast_start import is_on
from .own_session import Apart

__all__ = ["reading_claims", "taken_ahead"]

WHERE = ("beads_dir", "beads_executable", "timeout")

_begun: tuple[dict[str, Any], Apart] | None = None
"""Where they are read, and the process that does: the workers are forks of this one."""


@contextmanager
def reading_claims(directory: str | None) -> Iterator[None]:
    """Read the claims of a workspace here, for the first task in this context that asks for them.

    Args:
        directory: Its absolute path; None: nothing is read.
    """
    global _begun
    if directory is None or not is_on(os.environ):
        yield
        return
    options = complete({"beads_dir": directory}, BEADS_INFO)
    _begun = _where(options), Apart(lambda: _read(options))
    try:
        yield
    finally:
        _begun[1].leave()
        _begun = None


def taken_ahead(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of ``dx.fleet.beads_info`` with these options, where it was begun before; else None."""
    if _begun is None or _begun[0] != _where(options):
        return None
    with suppress(RuntimeError, OSError, ValueError):  # who asks reads them then, and says what is wrong
        return _begun[1].result()
    return None


def _read(options: Mapping[str, Any]) -> dict[str, Any]:
    from ...module_utils.beads import commands  # in its own process, while the other one starts

    return commands.returned(commands.info, options, False)


def _where(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in WHERE}
