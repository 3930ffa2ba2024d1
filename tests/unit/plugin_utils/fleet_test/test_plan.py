# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which command, report and clone a fleet test uses on a VM."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.plan import plan_of

REQUEST = {"repo": "affordabot", "ref": "main", "id": "01J"}
POLICY = {"verify": "make check", "report": "build/*.xml", "verify_timeout": 60.0, "counts": "none"}
HOST = {"dx_repos": {"affordabot": POLICY}}


@pytest.mark.parametrize(
    ("request_", "host", "expected"),
    [
        ({}, HOST, {"command": "make check", "report": ["build/*.xml"], "timeout": 60.0, "counts": "none"}),
        ({"command": "make test"}, HOST, {"command": "make test", "report": [], "timeout": 60.0}),
        ({"command": "make check"}, HOST, {"report": ["build/*.xml"]}),
        ({"command": "make test", "report": "r.xml"}, HOST, {"report": ["r.xml"]}),
        ({"command": "x"}, {}, {"timeout": 1800.0, "counts": "required", "runs": [1]}),
        ({"command": "x", "timeout": 5.0, "repeat": 3}, {}, {"timeout": 5.0, "runs": [1, 2, 3]}),
        ({"command": "x"}, {}, {"directory": "~/affordabot", "branch": "dx-fleet-test/01J"}),
        ({"command": "x"}, {"opencode_repos_root": "/srv/"}, {"directory": "/srv/affordabot"}),
        (
            {"command": "x"},
            {"opencode_repos_root": "/srv", "opencode_repos": {"affordabot": "/a"}},
            {"directory": "/a"},
        ),
        (
            {"command": "x", "repo": "/home/me/x"},
            {"opencode_repos_root": "/srv"},
            {"directory": "/home/me/x"},
        ),
        ({"command": "echo {{ 1 }}"}, {}, {"command": "echo {{ 1 }}"}),
    ],
)
def test_what_is_given_goes_before_the_file_and_that_before_the_default(
    request_: dict[str, Any], host: dict[str, Any], expected: dict[str, Any]
) -> None:
    plan = plan_of({**REQUEST, **request_}, host)
    assert {name: plan[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({}, "no_command"),
        ({"command": ""}, "no_command"),
        ({"command": "x", "repeat": 0}, "bad_repeat"),
        ({"command": "x", "repeat": 101}, "bad_repeat"),
        ({"command": "x", "repeat": "many"}, "bad_repeat"),
    ],
)
def test_what_can_t_be_meant_is_refused_with_what_to_do(request_: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of({**REQUEST, **request_}, {})
    assert caught.value.reason_code == reason
    assert caught.value.next_action
