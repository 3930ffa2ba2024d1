# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measuring the coverage of a command without measuring how it imports what is not ours.

Python 3.11 tells coverage of every line that is run, and most lines of a short command are those by which
Ansible, Jinja and pydantic are imported: told of them, a dispatch takes nearly twice the time. So nothing is
told while a module of others is imported for the first time.

Python runs this file, where it is on its path, just after coverage has begun; see :mod:`tests.command`.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_import = builtins.__import__


def _import_unwatched(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    watcher = sys.gettrace()
    ours = level > 0 or name.startswith("ansible_collections")
    if watcher is None or ours or name in sys.modules:
        return _import(name, globals, locals, fromlist, level)
    sys.settrace(None)
    try:
        return _import(name, globals, locals, fromlist, level)
    finally:
        sys.settrace(watcher)


builtins.__import__ = _import_unwatched
