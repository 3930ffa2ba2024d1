# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's own table of moved plugins, kept as JSON.

Every run of Ansible parses it from 10 000 lines of YAML: 0.18 s, a fifth of a start. The function
that does so may be replaced by one that caches, says its source (``_collection_meta.py``, ansible-core 2.19);
all scalars in what it returns are strings.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config.folders import cache_folder

__all__ = ["cache_routing"]

Parse = Callable[[bytes, Any], Mapping[str, Any]]


def cache_routing(environ: Mapping[str, str]) -> None:
    """Have Ansible's table read from ``$XDG_CACHE_HOME/dx-fleet``, by default in ``~/.cache``.

    A table of another content has another file there. Where the folder can't be used all is as without it.

    Raises:
        AttributeError: This Ansible has no such function.
        RuntimeError: There is no home.
    """
    from ansible.utils.collection_loader import _collection_finder as finder

    finder._meta_yml_to_dict = _cached(finder._meta_yml_to_dict, cache_folder(environ))


def _cached(parse: Parse, folder: Path) -> Parse:
    def cached(text: bytes, content_id: Any) -> Mapping[str, Any]:
        if content_id != ("ansible.builtin", "runtime.yml"):
            return parse(text, content_id)
        file = folder / f"ansible-routing-{hashlib.sha256(text).hexdigest()}.json"
        table: Mapping[str, Any] | None = _read(file)
        if table is None:
            table = parse(text, content_id)
            _write(file, table)
        return table

    return cached


def _read(file: Path) -> dict[str, Any] | None:
    try:
        table = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return table if isinstance(table, dict) and table else None


def _write(file: Path, table: Mapping[str, Any]) -> None:
    """Write it whole or not at all: other runs read it meanwhile."""
    new = file.with_suffix(f".{os.getpid()}.new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.write_text(json.dumps(table))
        new.replace(file)
    except OSError:
        with suppress(OSError):
            new.unlink()
