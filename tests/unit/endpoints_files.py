# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints files for tests: as users have them, and as they get them wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

__all__ = ["PLAIN", "almost_files", "any_json", "file_text", "one_vm"]

# What a user had before any addition of ours: it must stay valid as it stands.
PLAIN: Mapping[str, Any] = {
    "vms": {
        "homedesktop": {"opencode": "http://localhost:4105", "ssh": None, "tailscale": None, "local": True},
        "macmini": {
            "opencode": "http://macmini.tail76761.ts.net:4105",
            "ssh": "fengning@macmini",
            "tailscale": "macmini.tail76761.ts.net",
        },
        "epyc6": {
            "opencode": "http://epyc6.tail76761.ts.net:4105",
            "ssh": "feng@epyc6",
            "tailscale": "epyc6.tail76761.ts.net",
        },
    },
    "default_vm": "epyc6",
    "slack_audit_channel": "C09MQGMFKDE",
}


def one_vm(**entry: Any) -> dict[str, Any]:
    """A file of one VM, ``epyc6``, with these keys in its entry."""
    return {"vms": {"epyc6": {"opencode": "http://epyc6:4105", **entry}}}


def file_text(data: Any) -> str:
    """The data as a file has it."""
    return json.dumps(data, indent=2)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON, NaN and the like included, as Python's own parser takes them."""

_names = (
    st.sampled_from(["epyc6", "EPYC6", "macmini", "mac mini", "-x", "", "a.b", "opencode", "é"]) | st.text()
)
_urls = st.sampled_from(
    [
        "http://epyc6:4105",
        "HTTPS://epyc6:4105/",
        "http://[::1]:4105",
        "http://[::1",
        "http://epyc6:99999",
        "http://me:secret@epyc6:4105",
        "epyc6:4105",
        "http://",
        "http:///x",
    ]
)
_directories = st.sampled_from(["/srv/repos", "~/repos", "/", "repos", "", "/a\0b"])
_entry = st.fixed_dictionaries(
    {"opencode": _urls},
    optional={
        "ssh": st.sampled_from([None, "feng@epyc6", "epyc6", "", "@", "-oProxyCommand=x", 7]),
        "tailscale": st.none() | _names,
        "local": st.sampled_from([True, False, "yes", 1]),
        "aliases": st.lists(_names, max_size=3) | st.text(max_size=5),
        "enabled": st.booleans() | st.none(),
        "max_concurrent": st.sampled_from([None, 1, 0, -1, 2.0, "3", True]),
        "repos": st.dictionaries(_names, _directories, max_size=2),
        "repos_root": st.none() | _directories,
        "worktrees_root": st.none() | _directories,
        "transport": st.sampled_from(["auto", "http", "ssh", "", None]),
        "password_env": st.sampled_from([None, "DX_PASSWORD", "not a name", ""]),
        "description": st.none() | st.text(),
        "unknown": st.none(),
    },
)
_repo = st.fixed_dictionaries(
    {},
    optional={
        "verify": st.sampled_from([None, "make test", "", 1]),
        "report": st.sampled_from([None, "junit.xml", "/junit.xml", "../x", ""]),
        "verify_timeout": st.sampled_from([1, 0.5, 0, -1, "9", float("inf"), float("nan"), True]),
        "base": st.sampled_from([None, "origin/main", "-x", "a b", "a..b", ""]),
        "worktree": st.sampled_from(["auto", "always", "never", "yes", None]),
        "push": st.sampled_from([True, False, 1]),
        "close_on": st.sampled_from(["verified", "completed", ""]),
        "counts": st.sampled_from(["required", "none", 0]),
        "unknown": st.none(),
    },
)
almost_files = st.fixed_dictionaries(
    {"vms": st.dictionaries(_names, _entry, max_size=3)},
    optional={
        "$schema": st.none() | st.text(max_size=5),
        "default_vm": st.none() | _names,
        "slack_audit_channel": st.sampled_from([None, "C09MQGMFKDE", "", 1]),
        "repos": st.dictionaries(_names, _repo, max_size=2),
        "typo": st.none(),
    },
)
"""Files with the right outline, in which anything may be wrong."""
