# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is called in Slack, and whether a head has buttons."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.config.slack import AuditConfig

USERS = {"U0ALL": ("*",), "U0ANSWERS": ("answer", "status"), "U0STOPS": ("stop",)}


@pytest.mark.parametrize(
    ("given", "users", "called"),
    [
        (None, {}, ()),
        (None, USERS, ("U0ALL", "U0ANSWERS")),
        ("U0ME", USERS, ("U0ME",)),
        ("U0ME, W0YOU\nU0THEM", {}, ("U0ME", "W0YOU", "U0THEM")),
        ("", USERS, ("U0ALL", "U0ANSWERS")),
        ("somebody <!channel> !channel U0ME> @here u0low", {}, ()),
        (None, {"<!channel>": ("*",)}, ()),
    ],
)
def test_only_ids_are_called(
    given: str | None, users: dict[str, tuple[str, ...]], called: tuple[str, ...]
) -> None:
    environ = {} if given is None else {"DX_SLACK_MENTION": given}
    assert AuditConfig.read(environ, "C1", users).mention == called


@pytest.mark.parametrize(
    ("given", "users", "buttons"),
    [
        (None, {}, False),
        (None, USERS, True),
        ("", USERS, True),
        ("false", USERS, False),
        ("true", {}, True),
        ("maybe", USERS, False),
    ],
)
def test_there_are_buttons_where_somebody_hears_them(
    given: str | None, users: dict[str, tuple[str, ...]], buttons: bool
) -> None:
    environ = {} if given is None else {"DX_SLACK_BUTTONS": given}
    assert AuditConfig.read(environ, "C1", users).buttons is buttons


def test_another_process_reads_the_same() -> None:
    known = {"SLACK_BOT_TOKEN": "xoxb-1", "DX_SLACK_API_URL": "http://127.0.0.1:1/api"}
    config = AuditConfig.read(known, "C1", USERS)
    again = AuditConfig.for_delivery(config.as_environ())
    assert (again.token, again.api_url, again.mention, again.buttons) == (
        "xoxb-1",
        "http://127.0.0.1:1/api/",
        ("U0ALL", "U0ANSWERS"),
        True,
    )
    assert again.on
