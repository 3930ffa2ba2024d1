# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who dispatches."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import ConfigError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.orchestrator import _NAME, orchestrator_of
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"DX_ORCHESTRATOR": "antigravity@homedesktop-wsl"}, "antigravity@homedesktop-wsl"),
        ({"DX_ORCHESTRATOR": "", "USER": "feng"}, "feng@macmini"),
        ({"CLAUDECODE": "1", "USER": "feng"}, "claude-code@macmini"),
        ({"USER": "DOMAIN\\feng ning"}, "DOMAIN-feng-ning@macmini"),
        ({"USER": "///"}, "unknown@macmini"),
        ({}, "someone@macmini"),
    ],
)
def test_it_is_named_or_seen(environ: dict[str, str], name: str) -> None:
    assert orchestrator_of(environ, "macmini.tail76761.ts.net") == name


@pytest.mark.parametrize(
    "named", ["feng", "@host", "a@", "a@b@c", "a b@c", "a@b\n", "-a@b", "a" * 65 + "@b", "{{x}}@b"]
)
def test_a_name_that_is_none_is_refused_with_an_example(named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        orchestrator_of({"DX_ORCHESTRATOR": named}, "macmini")
    assert refused.value.reason_code == "bad_orchestrator"
    assert "\n" not in refused.value.message
    assert "claude-code@macmini" in str(refused.value.next_action)


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_user_and_host_are_called_it_is_a_name(user: str, host: str) -> None:
    assert _NAME.fullmatch(orchestrator_of({"USER": user}, host or "h"))
