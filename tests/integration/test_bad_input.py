# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of bad input: a line that says what is wrong, a reason, what to do, and the right exit code.

Nothing is sent and nothing is left behind.

There is no OpenCode here, as no task may reach one. Here is what only real processes and sockets show, and one of
each kind of the rest: each word and file that ends a command before a playbook runs is in
tests/unit/plugin_utils/cli/test_usage_errors.py, each rule of the preflight in .../dispatch/test_preflight.py.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import jsonschema
import pytest
import trustme
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.task import MAX_TASK_BYTES

from tests import schemas
from tests.command import Completed, run_ansible
from tests.unit.fake_opencode import HOME, FakeOpenCode, answer, unauthorized

from .controller import Controller, FakeVM
from .served import closed_port, hanging, served

HTML = b"<!doctype html><title>Grafana</title>"
REF = {"name": "UnknownError", "data": {"message": "Unexpected server error", "ref": "err_30e885de"}}
RUN = ("epyc6", "affordabot", "Run make test")

USAGE, FAILED, REFUSED, UNREACHABLE = 2, 3, 4, 5


Arrange = Callable[[FakeVM], Any]


def nothing(vm: FakeVM) -> None:
    """The world is in order."""


def entry(**changes: Any) -> Arrange:
    return lambda vm: vm.describe(**changes)


def answers(fault: Any, path: str = "/global/health") -> Arrange:
    return lambda vm: vm.fake.add("GET", path, fault, times=100)


def at_hanging(vm: FakeVM) -> None:
    vm.at(vm.stack.enter_context(hanging()))


def at_closed(vm: FakeVM) -> None:
    vm.at(closed_port())


def at_self_signed(vm: FakeVM) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    vm.at(vm.stack.enter_context(served(vm.fake, tls=context)), "https")


def at_plain_http_by_tls(vm: FakeVM) -> None:
    vm.at(vm.stack.enter_context(served(vm.fake)), "https")


def runs(version: str) -> Arrange:
    """The server is an OpenCode of that version."""
    return lambda vm: setattr(vm.fake, "version", version)


def opencode_2(vm: FakeVM) -> None:
    vm.fake.add("GET", "/global/health", answer(200, HTML, "text/html"), times=100)
    info = {"version": "2.3.2", "pid": 1, "urls": [], "paths": {}}
    vm.fake.add("GET", "/api/info", answer(200, info), times=100)


def broken_project(vm: FakeVM) -> None:
    issues = [{"path": ["provider"], "message": "Expected object, got 7"}]
    vm.fake.broken[f"{HOME}/affordabot"] = issues


def two_of_one_name(vm: FakeVM) -> None:
    vm.fake.projects = ["/srv/repos/affordabot"]


def session_without_a_directory(vm: FakeVM) -> None:
    vm.fake.session("ses_old", "/srv/worktrees/gone")


def redirect(server: FakeOpenCode, request: httpx.Request) -> httpx.Response:
    return httpx.Response(302, headers={"location": "https://sso.example/login?to=x"})


# -- what is wrong with a VM: one dispatch to all that refuse, one to all that can't be reached --


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a VM, and what the dispatch says of it."""

    code: int
    reason: str
    said: str
    arrange: Arrange


WRONG = {
    "no-password": Wrong(REFUSED, "password_missing", "DX_UNSET", entry(password_env="DX_UNSET")),
    "status-401": Wrong(REFUSED, "unauthorized", "password", answers(unauthorized())),
    "html-with-200": Wrong(REFUSED, "not_opencode", "text/html", answers(answer(200, HTML, "text/html"))),
    "another-service": Wrong(REFUSED, "not_opencode", "another", answers(answer(200, {"status": "ok"}))),
    "truncated-json": Wrong(REFUSED, "not_opencode", "broken JSON", answers(answer(200, b'{"healthy": tr'))),
    "redirect": Wrong(REFUSED, "redirected", "to https://sso.example", answers(redirect)),
    "too-old": Wrong(REFUSED, "version_unsupported", "OpenCode 1.18.14", runs("1.18.14")),
    "opencode-2": Wrong(REFUSED, "version_unsupported", "OpenCode 2.3.2", opencode_2),
    "broken-project": Wrong(REFUSED, "config_invalid", "provider: Expected object, got 7", broken_project),
    "two-of-one-name": Wrong(REFUSED, "repo_ambiguous", "/srv/repos/affordabot", two_of_one_name),
    "dns-failure": Wrong(
        UNREACHABLE, "dns_failure", "nosuch.invalid", entry(opencode="http://nosuch.invalid:4105")
    ),
    "refused": Wrong(UNREACHABLE, "connection_refused", "/global/health", at_closed),
    "self-signed": Wrong(UNREACHABLE, "tls_error", "certificate", at_self_signed),
    "plain-http": Wrong(UNREACHABLE, "tls_mismatch", "plain HTTP", at_plain_http_by_tls),
    "gateway": Wrong(UNREACHABLE, "gateway_error", "502", answers(answer(502, HTML, "text/html"))),
    "status-500": Wrong(UNREACHABLE, "server_error", "err_30e885de", answers(answer(500, REF), "/session/")),
}


@pytest.fixture(scope="module")
def dispatched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Completed]]:
    """What a dispatch to all VMs gave with which something is wrong that ends in this exit code."""
    with ExitStack() as stack:

        @cache
        def run(code: int) -> Completed:
            names = [name for name, wrong in WRONG.items() if wrong.code == code]
            controller = Controller(tmp_path_factory.mktemp("controller"), stack, names)
            for name, vm in controller.vms.items():
                WRONG[name].arrange(vm)
            done = controller.run("--json", "--all", "affordabot", "Run make test")
            controller.check_untouched()
            return done

        yield run


@pytest.mark.parametrize("code", [REFUSED, UNREACHABLE], ids=["refused", "unreachable"])
def test_a_dispatch_to_vms_that_are_all_wrong_is_one_document(
    dispatched: Callable[[int], Completed], code: int
) -> None:
    done = dispatched(code)
    assert set(done.results()) == {name for name, wrong in WRONG.items() if wrong.code == code}
    check_document(done, code)


@pytest.mark.parametrize("vm", WRONG)
def test_what_is_wrong_with_a_vm_is_one_line_with_a_reason_and_what_to_do(
    dispatched: Callable[[int], Completed], vm: str
) -> None:
    wrong = WRONG[vm]
    check_told(dispatched(wrong.code).results()[vm], wrong.reason, wrong.said)


# -- what is wrong with a command line, and what people see of an error --

CASES: list[Any] = []


def case(
    name: str, words: tuple[str, ...], code: int, reason: str, said: str, arrange: Arrange = nothing
) -> None:
    CASES.append(pytest.param(words, code, reason, said, arrange, id=name))


# Of those that come from a run of the playbook, which all go through the same lines, one of each exit code.
SHOWN_TO_PEOPLE = ("vm_disabled", "repo_not_found", "connection_refused")

case("unknown VM", ("epyc7", *RUN[1:]), USAGE, "unknown_vm", "epyc6")
case("wrong type", RUN, USAGE, "endpoints_invalid", "$.vms.epyc6.local: ", entry(local="yes"))
case("unknown option", (*RUN, "--nosuch"), USAGE, "usage", "--nosuch")
case("lone surrogate in the task", ("epyc6", "affordabot", "a\udcffb"), USAGE, "bad_task_text", "character 1")
case("model without provider", (*RUN, "--model", "gpt"), REFUSED, "bad_model", "'gpt'")
case("disabled VM", RUN, REFUSED, "vm_disabled", "disabled", entry(enabled=False))
case("repo not on the VM", ("epyc6", "nosuch", "Run"), REFUSED, "repo_not_found", f"tried {HOME}/nosuch")
case("unknown session", (*RUN, "--session", "ses_none"), REFUSED, "unknown_session", "'ses_none'")
case("unknown agent", (*RUN, "--agent", "nosuch"), REFUSED, "unknown_agent", "build, plan")
case("unknown dispatch", ("epyc6", "--id", "d1"), REFUSED, "unknown_dispatch", "d1")
case("refused connection", RUN, UNREACHABLE, "connection_refused", "/global/health", at_closed)
case(
    "hanging server",
    (*RUN, "--preflight-timeout", "2"),
    UNREACHABLE,
    "answer_timeout",
    "no answer",
    at_hanging,
)
case(
    "a session whose directory is gone",
    ("epyc6", "--session", "ses_old", "Run make test"),
    REFUSED,
    "directory_gone",
    "/srv/worktrees/gone",
    session_without_a_directory,
)


@pytest.mark.parametrize(("words", "code", "reason", "said", "arrange"), CASES)
def test_it_is_one_line_with_a_reason_and_what_to_do_and_nothing_happens(
    controller: Controller, words: tuple[str, ...], code: int, reason: str, said: str, arrange: Arrange
) -> None:
    arrange(controller.vm)
    done = controller.run("--json", *words)
    check_error(done, code, reason, said)
    if code == USAGE or reason in SHOWN_TO_PEOPLE:
        done = controller.run(*words)
        check_lines(done, code, reason, said)
    controller.check_untouched()


def check_error(done: Completed, code: int, reason: str, said: str) -> None:
    """A document with one error, or with one result that is one."""
    check_document(done, code)
    document = done.document()
    (told,) = [document["error"]] if document["error"] else document["results"]
    check_told(told, reason, said)


def check_document(done: Completed, code: int) -> None:
    assert done.code == code, done.out + done.err
    document = done.document()
    RESULT.validate(document)
    assert document["exit_code"] == code
    assert done.err == ""


def check_told(told: Mapping[str, Any], reason: str, said: str) -> None:
    assert told["reason_code"] == reason, told
    assert said in told["message_to_human"], told
    assert "\n" not in told["message_to_human"]
    assert told["next_action"], told


def check_lines(done: Completed, code: int, reason: str, said: str) -> None:
    assert done.code == code, done.out + done.err
    lines = (done.out + done.err).splitlines()
    told = [line for line in lines if not line.strip().startswith(("next: ", "reason: "))]
    assert sum(said in line for line in told) == 1, lines
    assert sum(reason in line for line in lines) >= 1, lines
    assert lines[-1].strip().startswith("next: "), lines
    assert len(lines) <= 4, lines
    assert all(line.isprintable() for line in lines)


RESULT = jsonschema.Draft202012Validator(
    json.loads((schemas.DIRECTORY / "dispatch-result.schema.json").read_text())
)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("x" * (MAX_TASK_BYTES + 1), "task_too_large"),
        ("ü" * (MAX_TASK_BYTES // 2 + 1), "task_too_large"),
        ("a\0b", "bad_task_text"),
        ("", "empty_task"),
        (" \n\t ", "empty_task"),
    ],
    ids=["one byte too many", "too many in UTF-8", "NUL", "empty", "blank"],
)
def test_a_task_on_standard_input_has_the_same_limits(controller: Controller, task: str, reason: str) -> None:
    done = controller.run("--json", "epyc6", "affordabot", "-", stdin=task)
    check_error(done, USAGE, reason, "the task")
    assert controller.fake.requests == []
    controller.check_untouched()


def test_a_bad_vm_among_all_is_named_and_does_not_stop_the_others(controller: Controller) -> None:
    data = controller.read()
    data["vms"]["macmini"] = {"opencode": f"http://127.0.0.1:{closed_port()}"}
    controller.write(data)
    done = controller.run("--json", "--all", "nosuch", "Run make test")
    assert done.code == FAILED, done.out + done.err
    reasons = {vm: result["reason_code"] for vm, result in done.results().items()}
    assert reasons == {"epyc6": "repo_not_found", "macmini": "connection_refused"}
    controller.check_untouched()


@pytest.mark.parametrize("command", ["list", "status"])
def test_looking_at_a_fleet_that_is_wrong_is_the_same_error(controller: Controller, command: str) -> None:
    controller.vm.describe(local=1)
    check_error(controller.look(command), USAGE, "endpoints_invalid", "$.vms.epyc6.local: ")
    controller.check_untouched()


def test_the_status_of_a_vm_that_is_gone_says_so(controller: Controller) -> None:
    at_closed(controller.vm)
    check_error(controller.look("status"), UNREACHABLE, "connection_refused", "/global/health")
    controller.check_untouched()


def test_a_playbook_says_the_same_as_the_command(controller: Controller) -> None:
    words = ("dx.fleet.dispatch", "-e", "target=epyc6", "-e", "repo=nosuch", "-e", "task=Run")
    done = run_ansible("ansible-playbook", "-i", str(controller.file), *words, env=controller.env)
    assert done.code == 2
    assert f"epyc6 has no repo 'nosuch'; tried {HOME}/nosuch" in done.out
    assert '"reason_code": "repo_not_found"' in done.out
    assert "Traceback" not in done.out + done.err
    assert {method for method, _ in controller.fake.requests} == {"GET"}
