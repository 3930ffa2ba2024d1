# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""slack_sdk is imported beside the flow, and no worker is forked in the middle of an import that it needs too."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack import sdk
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store import database

IMPORTED = """
import json, sys
from importlib import import_module
for name in json.loads(sys.argv[1]):
    import_module(name)
before = set(sys.modules)
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
try:
    WebClient(token="x", base_url="http://localhost:1/").api_call("chat.postMessage", json={})
except OSError:
    pass
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_what_is_imported_between_forks_is_all_that_slack_sdk_shares_with_others() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, json.dumps(sdk.SHARED)], capture_output=True, text=True, check=True
    )
    imported = json.loads(done.stdout)
    assert "slack_sdk.web.client" in imported
    assert [name for name in imported if name.split(".")[0] != "slack_sdk"] == []


def test_a_fork_waits_only_for_what_a_worker_may_import_too(monkeypatch: pytest.MonkeyPatch) -> None:
    may_fork: dict[str, bool] = {}

    def imports(name: str) -> None:
        def try_it() -> None:
            may_fork[name] = database._using.acquire(blocking=False)
            if may_fork[name]:
                database._using.release()

        another = threading.Thread(target=try_it)
        another.start()
        another.join(30)

    monkeypatch.setattr(sdk, "import_module", imports)
    sdk.import_sdk()
    assert may_fork == {**dict.fromkeys(sdk.SHARED, False), "slack_sdk": True}
