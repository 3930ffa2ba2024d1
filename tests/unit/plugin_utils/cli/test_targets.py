# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the words after dx-dispatch mean, and which can't be meant."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.parser import check_words
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.targets import Targets, targets_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import VM, Fleet, RepoPolicy
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugin_utils.cli.typed import typed

FLEET = Fleet(
    (
        VM("homedesktop", "http://localhost:4105", aliases=("homedesktop-wsl", "desk")),
        VM("macmini", "http://macmini:4105", aliases=("desk",), enabled=False),
        VM("epyc6", "http://epyc6:4105"),
    ),
    default_vm="epyc6",
)


def meant(*words: str, fleet: Fleet = FLEET) -> Targets:
    return targets_of(typed(*words), fleet)


def refused(*words: str, fleet: Fleet = FLEET) -> UsageError:
    with pytest.raises(UsageError) as caught:
        meant(*words, fleet=fleet)
    assert "\n" not in caught.value.message
    assert caught.value.next_action
    return caught.value


@pytest.mark.parametrize(
    ("words", "vm", "repo", "task"),
    [
        (("epyc6", "affordabot", "Run make test"), "epyc6", "affordabot", "Run make test"),
        (
            ("epyc6", "affordabot", "Continue work", "--session", "ses_1"),
            "epyc6",
            "affordabot",
            "Continue work",
        ),
        (("macmini", "prime-radiant", "Fix linting", "--slack"), "macmini", "prime-radiant", "Fix linting"),
        (("affordabot", "Run make test"), "epyc6", "affordabot", "Run make test"),
        (("homedesktop-wsl", "affordabot", "Run"), "homedesktop", "affordabot", "Run"),
        (("--json", "epyc6", "affordabot", "Run"), "epyc6", "affordabot", "Run"),
        (("epyc6", "--agent", "plan", "affordabot", "Run"), "epyc6", "affordabot", "Run"),
        (("--", "epyc6", "affordabot", "--all"), "epyc6", "affordabot", "--all"),
        (("--id", "d1", "epyc6", "--", "affordabot", "-x --json"), "epyc6", "affordabot", "-x --json"),
        (("epyc6", "affordabot", "-"), "epyc6", "affordabot", "-"),
        (("epyc6", "--id", "d1"), "epyc6", None, None),
        (("--id", "d1"), "epyc6", None, None),
        (("epyc6", "Continue work", "--session", "ses_1"), "epyc6", None, "Continue work"),
        (("epyc6", "affordabot", "{{ 7 * 7 }}"), "epyc6", "affordabot", "{{ 7 * 7 }}"),
    ],
)
def test_a_command_line_names_one_vm_a_repo_and_a_task(
    words: tuple[str, ...], vm: str, repo: str | None, task: str | None
) -> None:
    found = meant(*words)
    assert (found.pattern, found.vms, found.repo, found.task) == (vm, (vm,), repo, task)


def test_all_is_every_enabled_vm() -> None:
    assert meant("--all", "affordabot", "Run") == Targets(
        "opencode", ("homedesktop", "epyc6"), "affordabot", "Run"
    )


@pytest.mark.parametrize(
    ("words", "reason", "said"),
    [
        (("epyc7", "affordabot", "Run"), "unknown_vm", "homedesktop"),
        (("desk", "affordabot", "Run"), "ambiguous_vm", "macmini"),
        (("epyc7", "--id", "d1"), "unknown_vm", "epyc6"),
        (("epyc6", "affordabot"), "task_missing", "'epyc6' is a VM"),
        (("desk", "affordabot"), "task_missing", "'desk' is a VM"),
        (("affordabot",), "task_missing", "the repo or the task is missing"),
        ((), "task_missing", "there is nothing to do"),
        (("epyc6", "affordabot", "Run", "more"), "too_many_words", "there are 4 words"),
        (("epyc6", " ", "Run"), "repo_missing", "the repo is empty"),
        (("epyc6", "affordabot", "Run", "--all"), "vm_and_all", "both a VM ('epyc6') and --all"),
        (
            ("affordabot", "Run", "--all", "--session", "ses_1"),
            "session_and_all",
            "--session belongs to one VM",
        ),
        (("epyc6", "affordabot", "Run", "--nosuch"), "usage", "there is no option '--nosuch'"),
        (("epyc6", "affordabot", "Run", "--sess", "ses_1"), "usage", "did you mean --session?"),
        (("epyc6", "affordabot", "Run", "--time-out=3"), "usage", "did you mean --timeout?"),
        (("--status",), "usage", "there is no option '--status'"),
        (("epyc6", "affordabot", "Run", "--session"), "usage", "expected one argument"),
        (("epyc6", "affordabot", "Run", "--timeout", "soon"), "usage", "'soon' is not a time"),
        (("epyc6", "affordabot", "Run", "--timeout", "-1"), "usage", "not a time"),
        (("epyc6", "affordabot", "Run", "--timeout", "nan"), "usage", "not a time"),
        (("epyc6", "affordabot", "Run", "--timeout", "inf"), "usage", "'inf' is too much"),
        (("epyc6", "affordabot", "Run", "--max-cost", "cheap"), "usage", "not an amount"),
        (("epyc6", "affordabot", "Run", "--max-steps", "1.5"), "usage", "not a number"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(
    words: tuple[str, ...], reason: str, said: str
) -> None:
    error = refused(*words)
    assert error.reason_code == reason
    assert said in error.message


def test_all_of_no_enabled_vm_is_refused() -> None:
    error = refused("--all", "affordabot", "Run", fleet=Fleet((VM("a", "http://a:1", enabled=False),)))
    assert error.reason_code == "no_vm"


def test_without_a_default_a_vm_must_be_named() -> None:
    assert refused("affordabot", "Run", fleet=Fleet(FLEET.vms)).reason_code == "no_default_vm"


def test_options_that_are_not_given_are_left_to_the_playbook() -> None:
    arguments = typed("epyc6", "affordabot", "Run")
    assert (arguments.timeout, arguments.stall_timeout, arguments.max_steps, arguments.max_cost) == (
        None,
    ) * 4
    assert (arguments.id, arguments.session, arguments.agent, arguments.model, arguments.slack) == (None,) * 5
    assert not any((arguments.no_wait, arguments.dry_run, arguments.json, arguments.all))


def test_options_are_read() -> None:
    words = "epyc6 r t --timeout 1.5 --stall-timeout 0 --max-cost 2.5 --max-steps 7 -i f.yml -vv"
    arguments = typed(*words.split(), "--preflight-timeout", "3")
    assert (arguments.timeout, arguments.stall_timeout, arguments.max_cost) == (1.5, 0, 2.5)
    assert (arguments.max_steps, arguments.preflight_timeout, arguments.verbose) == (7, 3, 2)
    assert str(arguments.inventory) == "f.yml"


def test_every_option_has_a_word_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        typed("--help")
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for option in (
        "--all",
        "--session",
        "--id",
        "--json",
        "--dry-run",
        "--preflight-timeout",
    ):
        assert option in told


@pytest.mark.parametrize("word", ["a\0b", "\udcff", "x\ud800"])
def test_a_word_that_is_no_text_is_refused(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_words(["epyc6", word])
    assert caught.value.reason_code == "bad_text"
    assert caught.value.message.isprintable()
    caught.value.message.encode("utf-8")


@given(
    st.lists(
        st.text(max_size=8) | st.sampled_from(["--all", "--json", "epyc6", "--", "--id", "-i", "-"]),
        max_size=5,
    )
)
def test_any_words_mean_something_or_are_refused(words: list[str]) -> None:
    try:
        targets = meant(*words)
    except UsageError as error:
        said = error.message
    except SystemExit:
        return  # --help, -h
    else:
        said = ""
        assert set(targets.vms) <= set(FLEET.names())
    assert "\n" not in said or "\n" in "".join(words)


KNOWN = Fleet(
    (*FLEET.vms[:2], VM("epyc6", "http://epyc6:4105", repos={"prime-radiant": "/srv/prime"})),
    default_vm="epyc6",
    repos={"affordabot": RepoPolicy()},
)


@pytest.mark.parametrize("task", ["Do it on that branch", "-", "Rename", "fix/it", "bd-2", "epyc7", "--all"])
def test_a_retry_knows_the_place_and_takes_a_new_instruction(task: str) -> None:
    assert meant("--retry", "bd-1", "--", task, fleet=KNOWN) == Targets(
        "epyc6", ("epyc6",), None, task, False
    )
    assert meant("--retry", "bd-1", "--", "homedesktop", task, fleet=KNOWN) == Targets(
        "homedesktop", ("homedesktop",), None, task, True
    )


@pytest.mark.parametrize(
    ("words", "vm", "repo", "task", "named"),
    [
        ((), "epyc6", None, None, False),
        (("homedesktop-wsl",), "homedesktop", None, None, True),
        (("affordabot",), "epyc6", "affordabot", None, False),
        (("prime-radiant",), "epyc6", "prime-radiant", None, False),
        (("epyc6", "affordabot"), "epyc6", "affordabot", None, True),
        (("affordabot", "Rename"), "epyc6", "affordabot", "Rename", False),
        (("other", "Rename"), "epyc6", "other", "Rename", False),
        (("epyc6", "other", "Rename"), "epyc6", "other", "Rename", True),
        (("epyc6", "Rename", "--session", "ses_1"), "epyc6", None, "Rename", True),
        (("affordabot", "--session", "ses_1"), "epyc6", None, "affordabot", False),
    ],
)
def test_a_retry_may_name_a_place_all_the_same(
    words: tuple[str, ...], vm: str, repo: str | None, task: str | None, named: bool
) -> None:
    assert meant("--retry", "bd-1", *words, fleet=KNOWN) == Targets(vm, (vm,), repo, task, named)


@pytest.mark.parametrize("option", ["--bead", "--retry"])
@pytest.mark.parametrize(
    ("words", "vm", "repo", "task", "named"),
    [
        (("epyc6", "affordabot"), "epyc6", "affordabot", None, True),
        (("affordabot",), "epyc6", "affordabot", None, False),
        (("prime-radiant",), "epyc6", "prime-radiant", None, False),
        (("homedesktop-wsl",), "homedesktop", None, None, True),
        ((), "epyc6", None, None, False),
        (("epyc6", "affordabot", "Do it"), "epyc6", "affordabot", "Do it", True),
        (("affordabot", "Do it"), "epyc6", "affordabot", "Do it", False),
        (("epyc6", "Go on", "--session", "ses_1"), "epyc6", None, "Go on", True),
        (("Go on", "--session", "ses_1"), "epyc6", None, "Go on", False),
    ],
)
def test_with_a_bead_its_text_is_the_task_and_its_claim_may_say_where(
    option: str, words: tuple[str, ...], vm: str, repo: str | None, task: str | None, named: bool
) -> None:
    assert meant(option, "bd-a1.2", *words, fleet=KNOWN) == Targets(vm, (vm,), repo, task, named)
    assert typed(option, "bd-a1.2", *words).any_bead == "bd-a1.2"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--bead", ""), "bad_bead"),
        (("--bead=-x",), "bad_bead"),
        (("--bead=--all",), "bad_bead"),
        (("--bead", "33"), "bad_bead"),
        (("--retry", "bd-1 bd-2"), "bad_bead"),
        (("--bead", "bd-1\n"), "bad_bead"),
        (("--bead", "bd-\udcff"), "bad_bead"),
        (("--bead",), "usage"),
        (("--bead", "bd-1", "--retry", "bd-1"), "usage"),
        (("--bead", "bd-1", "--all", "affordabot"), "bead_and_all"),
        (("epyc6", "affordabot", "Do", "--takeover"), "usage"),
        (("epyc6", "affordabot", "Do", "--force"), "usage"),
        (("--all", "affordabot", "Do", "--branch", "b"), "branch_and_all"),
        (("epyc6", "affordabot", "Do", "--verify", " "), "usage"),
        (("epyc6", "affordabot", "Do", "--verify", "x", "--no-verify"), "usage"),
        (("desk", "--bead", "bd-1"), "ambiguous_vm"),
        (("a", "b", "c", "d", "--bead", "bd-1"), "too_many_words"),
        ((" ", "--bead", "bd-1"), "repo_missing"),
    ],
)
def test_what_cannot_be_meant_of_a_bead_is_refused(words: tuple[str, ...], reason: str) -> None:
    assert refused(*words).reason_code == reason
