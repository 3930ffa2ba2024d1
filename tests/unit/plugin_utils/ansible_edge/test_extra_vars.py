# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that Ansible would cut short is refused; one that comes whole is not."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.extra_vars import check_whole
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError


@pytest.mark.parametrize(
    ("option", "left"),
    [
        ("task=Run make test", "Run"),
        ("repo=affordabot task=Fix linting", "Fix"),
        ("task=Set a=b in the file", "Set"),
        ("task=Set colour=red", "Set"),
        ("task='Run make' test", "Run make"),
        (" task=Run  twice", "Run"),
    ],
)
def test_a_task_that_would_be_cut_short_is_refused(option: str, left: str) -> None:
    with pytest.raises(UsageError, match="at spaces") as caught:
        check_whole(["target=epyc6", option])
    assert caught.value.reason_code == "task_split"
    assert f"would be {left!r} alone" in caught.value.message
    assert (caught.value.next_action or "").startswith("give it as JSON: -e ")


@pytest.mark.parametrize(
    "option",
    [
        "task=Run",
        "task='Run make test'",
        'task="Run make test" repo=affordabot',
        "target=epyc6 task=Run repo=affordabot slack_audit_channel=C1",
        '{"task": "Run make test"}',
        ' {"task": "task=Run make test"}',
        "@task=of a file.yml",
        "repo=affordabot",
        "mytask=Run make test",
        "",
    ],
)
def test_a_task_that_comes_whole_is_taken(option: str) -> None:
    check_whole([option])
