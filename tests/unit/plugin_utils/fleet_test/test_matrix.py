# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests differ between VMs, which are flaky, and what all of it means for the commit."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.matrix import Failing, Flaky, Matrix, Seen
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.results import RunState, VMTest

from .runs import broken, counted, fleet_test, vm


@pytest.mark.parametrize(
    ("vms", "state", "code"),
    [
        ((vm("a", "x+"), vm("b", "x+")), RunState.PASSED, 0),
        ((vm("a", "x+"), vm("b", "x-")), RunState.FAILED, 3),
        ((vm("a", "x+"), broken("b")), RunState.UNKNOWN, 10),
        ((vm("a", "x-"), broken("b")), RunState.FAILED, 3),
        ((vm("a", "x+", "x-", "x+"),), RunState.FAILED, 3),
        ((vm("a", "x+", ""),), RunState.UNKNOWN, 10),
        ((vm("a"),), RunState.UNKNOWN, 10),
        ((), RunState.UNKNOWN, 10),
        ((counted("a", 3), counted("b", 3)), RunState.PASSED, 0),
        ((counted("a", 3), counted("b", 2, 1)), RunState.FAILED, 3),
    ],
)
def test_a_vm_that_fails_decides_and_one_that_cannot_say_is_no_success(
    vms: tuple[VMTest, ...], state: RunState, code: int
) -> None:
    test = fleet_test(*vms)
    assert (test.state, int(test.exit_code)) == (state, code)


def differences(*vms: VMTest) -> dict[str, str]:
    """Test -> the initials of what it is on each VM."""
    found = Matrix.of(fleet_test(*vms)).differences
    return {each.id: " ".join(seen.value for seen in each.vms.values()) for each in found}


def test_a_test_that_ends_the_same_everywhere_is_no_difference() -> None:
    assert differences(vm("a", "x+ y- z~ w!"), vm("b", "w! z~ y- x+")) == {}


def test_what_differs_is_named_with_what_it_is_on_each_vm_the_failed_first() -> None:
    found = differences(vm("a", "p+ q+ r+ s~ t+"), vm("b", "p+ q- s+ t!"), vm("c", "p+ q+ r+ s+ t+"))
    assert found == {
        "q": "passed failed passed",
        "t": "passed error passed",
        "r": "passed missing passed",
        "s": "skipped passed passed",
    }
    assert list(found) == ["q", "t", "r", "s"]


def test_a_vm_without_the_names_of_its_tests_is_not_compared() -> None:
    assert differences(vm("a", "x+"), counted("b", 1), broken("c")) == {}
    assert Matrix.of(fleet_test(vm("a", "x+"), counted("b", 1), broken("c"))).vms == ("a",)


def test_a_test_that_fails_in_some_runs_is_flaky_and_one_that_fails_in_all_is_not() -> None:
    matrix = Matrix.of(fleet_test(vm("a", "x+ y- z+", "x- y- z+", "x+ y!"), vm("b", "x+", "x+", "x+")))
    assert matrix.flaky == (Flaky("x", "a", failed=1, runs=3),)
    by_id = {each.id: each.vms["a"] for each in matrix.differences}
    assert (by_id["x"], by_id["y"]) == (Seen.FLAKY, Seen.FAILED)


def test_of_a_test_that_a_run_has_twice_the_worst_counts() -> None:
    assert Matrix.of(fleet_test(vm("a", "x- x+"))).flaky == ()
    assert differences(vm("a", "x+ x-"), vm("b", "x+ x+")) == {"x": "failed passed"}


def test_what_failed_is_there_once_with_what_it_printed() -> None:
    failing = Matrix.of(fleet_test(vm("a", "x- y+", "x- y!"))).failing
    assert failing == (
        Failing("x", "a", "x said\n<b>no</b> & \x00"),
        Failing("y", "a", "y said\n<b>no</b> & \x00"),
    )


def test_a_suite_has_a_cell_for_each_vm_that_has_any_of_its_tests() -> None:
    cells = Matrix.of(fleet_test(vm("a", "two/x+ two/y- one/z~"), vm("b", "two/x+ two/y+"))).cells
    assert list(cells) == ["one", "two"]
    assert dict(cells["two"]["a"].counts) == {Seen.PASSED: 1, Seen.FAILED: 1}
    assert cells["two"]["a"].bad
    assert not cells["two"]["b"].bad
    assert "b" not in cells["one"]
