# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of a dispatch: chosen before anything is sent, the same in every replay."""

from __future__ import annotations

import re

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain import identity
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.clock import ManualClock

ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}", fullmatch=True)


def test_a_new_id_is_a_ulid_and_no_other_is_the_same() -> None:
    made = [identity.new_dispatch_id() for _ in range(200)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", each) for each in made)


def test_new_ids_are_sortable_by_time() -> None:
    times_s = (0.001, 0.002, 0.031, 0.032, 1_700_000_000.0, 1_700_000_000.002, 2**48 / 1000 - 1)
    made = [identity.new_dispatch_id(ManualClock(at)) for at in times_s]
    assert made == sorted(made)
    assert len({each[:10] for each in made}) == len(made), "ten characters are the time"


@given(ids)
def test_a_good_id_is_taken_as_it_stands(text: str) -> None:
    assert identity.check_dispatch_id(text) == text


@pytest.mark.parametrize(
    "text", ["", " ", "-a", "a b", "a/b", "a\n", "ü", "a" * 129, "a\0", "\ud800", "a'b", "$(x)"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        identity.check_dispatch_id(text)
    assert caught.value.reason_code == "bad_dispatch_id"
    assert "\n" not in caught.value.message


@given(ids, ids)
def test_two_ids_never_share_a_session_or_a_message(one: str, other: str) -> None:
    assert (identity.session_id(one) == identity.session_id(other)) == (one == other)
    assert (identity.message_id(one) == identity.message_id(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"), [("a.b", "a-b"), ("a" * 41, "a" * 42), ("A", "a"), ("bd-1@2", "bd-1:2")]
)
def test_ids_that_look_alike_once_shortened_are_kept_apart(one: str, other: str) -> None:
    assert identity.session_id(one) != identity.session_id(other)


@given(ids)
def test_the_names_are_what_opencode_takes_and_safe_in_a_path(text: str) -> None:
    assert re.fullmatch(r"ses_[A-Za-z0-9-]+", identity.session_id(text))
    assert re.fullmatch(r"msg_[A-Za-z0-9-]+", identity.message_id(text))
    assert re.fullmatch(r"prt_[A-Za-z0-9-]+", identity.part_id(text, text))


def test_the_names_never_change_between_versions() -> None:
    """A dispatch that an older version sent must be found again by this one."""
    assert identity.session_id("bd-xyz@1") == "ses_dx-bd-xyz-1-3613fdc9f70c"
    assert identity.message_id("bd-xyz@1") == "msg_dx-bd-xyz-1-3613fdc9f70c"


@pytest.mark.parametrize(
    ("given", "named", "dispatch"),
    [("deploy", True, "deploy"), ("deploy", False, "deploy.epyc6"), ("a.epyc6", False, "a.epyc6.epyc6")],
)
def test_a_dispatch_to_a_group_of_vms_has_an_id_of_its_own_on_each(
    given: str, named: bool, dispatch: str
) -> None:
    assert identity.dispatch_id_on("epyc6", given, named=named) == dispatch


@given(ids, st.sampled_from(["epyc6", "macmini", "a.b"]))
def test_the_id_that_a_group_was_given_is_found_again_in_that_of_each_vm(text: str, vm: str) -> None:
    assert identity.group_of(identity.dispatch_id_on(vm, text, named=False), vm) == f"{text}.*"


def test_an_id_that_is_only_the_ending_of_a_group_is_an_id() -> None:
    assert identity.group_of(".epyc6", "epyc6") is None
    assert identity.group_of("deploy.epyc6", None) is None
    assert identity.group_of("deploy.epyc6", "macmini") is None


def test_a_group_has_no_name_that_an_id_can_be() -> None:
    with pytest.raises(UsageError):
        identity.check_dispatch_id(str(identity.group_of("deploy.epyc6", "epyc6")))
