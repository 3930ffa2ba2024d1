# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of bad input: a line that says what is wrong, a reason, what to do, and the right exit code.

Nothing is sent and nothing is left behind.

There is no OpenCode here, as no task may reach one.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import jsonschema
import pytest
import trustme
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.task import MAX_TASK_BYTES

from tests import schemas
from tests.command import Completed, run_ansible
from tests.unit.fake_opencode import HOME, FakeOpenCode, answer, unauthorized

from .controller import Controller
from .served import closed_port, hanging, served

HTML = b"<!doctype html><title>Grafana</title>"
REF = {"name": "UnknownError", "data": {"message": "Unexpected server error", "ref": "err_30e885de"}}
RUN = ("epyc6", "affordabot", "Run make test")

USAGE, FAILED, REFUSED, UNREACHABLE = 2, 3, 4, 5


Arrange = Callable[[Controller], Any]


def nothing(controller: Controller) -> None:
    """The world is in order."""


def another_vm(**entries: dict[str, Any]) -> Arrange:
    def arrange(controller: Controller) -> None:
        data = json.loads(controller.file.read_text())
        data["vms"] |= entries
        controller.write(data)

    return arrange


def entry(**changes: Any) -> Arrange:
    return lambda controller: controller.describe(**changes)


def content(data: Any) -> Arrange:
    return lambda controller: controller.write(data)


def answers(fault: Any, path: str = "/global/health") -> Arrange:
    return lambda controller: controller.fake.add("GET", path, fault, times=100)


def at_hanging(controller: Controller) -> None:
    controller.at(controller.stack.enter_context(hanging()))


def at_closed(controller: Controller) -> None:
    controller.at(closed_port())


def at_self_signed(controller: Controller) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    controller.at(controller.stack.enter_context(served(controller.fake, tls=context)), "https")


def at_plain_http_by_tls(controller: Controller) -> None:
    controller.at(controller.stack.enter_context(served(controller.fake)), "https")


def runs(version: str) -> Arrange:
    """The server is an OpenCode of that version."""
    return lambda controller: setattr(controller.fake, "version", version)


def opencode_2(controller: Controller) -> None:
    controller.fake.add("GET", "/global/health", answer(200, HTML, "text/html"), times=100)
    info = {"version": "2.3.2", "pid": 1, "urls": [], "paths": {}}
    controller.fake.add("GET", "/api/info", answer(200, info), times=100)


def broken_project(controller: Controller) -> None:
    issues = [{"path": ["provider"], "message": "Expected object, got 7"}]
    controller.fake.broken[f"{HOME}/affordabot"] = issues


def two_of_one_name(controller: Controller) -> None:
    controller.fake.projects = ["/srv/repos/affordabot"]


def session_without_a_directory(controller: Controller) -> None:
    controller.fake.session("ses_old", "/srv/worktrees/gone")


def session_elsewhere(controller: Controller) -> None:
    controller.fake.session("ses_old", "/srv/repos/affordabot")


def session_busy(controller: Controller) -> None:
    controller.fake.session("ses_old", f"{HOME}/affordabot").status = {"type": "busy"}


def redirect(server: FakeOpenCode, request: httpx.Request) -> httpx.Response:
    return httpx.Response(302, headers={"location": "https://sso.example/login?to=x"})


CASES: list[Any] = []


def case(
    name: str, words: tuple[str, ...], code: int, reason: str, said: str, arrange: Arrange = nothing
) -> None:
    CASES.append(pytest.param(words, code, reason, said, arrange, id=name))


# Of those that come from a run of the playbook, which all go through the same lines, one of each exit code.
SHOWN_TO_PEOPLE = ("vm_disabled", "repo_not_found", "connection_refused")

OTHER = {"opencode": "http://127.0.0.1:1", "aliases": ["desk"]}

case("unknown VM", ("epyc7", *RUN[1:]), USAGE, "unknown_vm", "epyc6")
case(
    "ambiguous alias",
    ("desk", *RUN[1:]),
    USAGE,
    "ambiguous_vm",
    "macmini and homedesktop",
    another_vm(macmini=OTHER, homedesktop={**OTHER, "opencode": "http://127.0.0.1:2"}),
)
case(
    "missing file",
    RUN,
    USAGE,
    "endpoints_missing",
    "no such file",
    lambda controller: controller.file.unlink(),
)
case("empty file", RUN, USAGE, "endpoints_malformed", "vm-endpoints.json:1:1:", content(""))
case(
    "malformed file",
    RUN,
    USAGE,
    "endpoints_malformed",
    ":3:9: not JSON",
    content('{\n "vms": {\n    "a" {}\n }\n}'),
)
case("wrong type", RUN, USAGE, "endpoints_invalid", "$.vms.epyc6.local: ", entry(local="yes"))
case("wrong shape", RUN, USAGE, "endpoints_invalid", "$.vms: ", content({"vms": []}))
case("unknown key", RUN, USAGE, "endpoints_invalid", "$.vms.epyc6.pasword_env: ", entry(pasword_env="PW"))
case(
    "malformed URL",
    RUN,
    USAGE,
    "endpoints_invalid",
    "$.vms.epyc6.opencode: is not",
    entry(opencode="epyc6:4105"),
)
case(
    "URL with a password",
    RUN,
    USAGE,
    "endpoints_invalid",
    "credentials",
    entry(opencode="http://a:b@epyc6:1"),
)
case(
    "port out of range", RUN, USAGE, "endpoints_invalid", "is not a URL", entry(opencode="http://epyc6:99999")
)
case("both a VM and --all", (*RUN, "--all"), USAGE, "vm_and_all", "'epyc6'")
case("no word at all", (), USAGE, "task_missing", "nothing to do")
case("no task", ("epyc6", "affordabot"), USAGE, "task_missing", "'epyc6' is a VM")
case("unknown option", (*RUN, "--nosuch"), USAGE, "usage", "--nosuch")
case("limit that is no number", (*RUN, "--timeout", "soon"), USAGE, "usage", "'soon'")
case("empty task", ("epyc6", "affordabot", ""), USAGE, "empty_task", "empty")
case("blank task", ("epyc6", "affordabot", " \n\t"), USAGE, "empty_task", "empty")
case("lone surrogate in the task", ("epyc6", "affordabot", "a\udcffb"), USAGE, "bad_task_text", "character 1")
case("lone surrogate in the repo", ("epyc6", "a\udcff", "Run"), USAGE, "bad_text", "not valid text")
case("lone surrogate in the session", (*RUN, "--session", "ses_\udcff"), USAGE, "bad_text", "not valid text")
case("bad id", (*RUN, "--id", "a b"), USAGE, "bad_dispatch_id", "'a b'")
case("model without provider", (*RUN, "--model", "gpt"), REFUSED, "bad_model", "'gpt'")
case("disabled VM", RUN, REFUSED, "vm_disabled", "disabled", entry(enabled=False))
case(
    "password variable not set", RUN, REFUSED, "password_missing", "DX_UNSET", entry(password_env="DX_UNSET")
)
case("repo not on the VM", ("epyc6", "nosuch", "Run"), REFUSED, "repo_not_found", f"tried {HOME}/nosuch")
case("unknown session", (*RUN, "--session", "ses_none"), REFUSED, "unknown_session", "'ses_none'")
case("malformed session", (*RUN, "--session", "none"), REFUSED, "unknown_session", "'none'")
case(
    "session of another directory",
    (*RUN, "--session", "ses_old"),
    REFUSED,
    "session_elsewhere",
    "/srv/repos/affordabot",
    session_elsewhere,
)
case("busy session", (*RUN, "--session", "ses_old"), REFUSED, "session_busy", "busy", session_busy)
case("unknown agent", (*RUN, "--agent", "nosuch"), REFUSED, "unknown_agent", "build, plan")
case("unknown model", (*RUN, "--model", "a/b"), REFUSED, "unknown_model", "scripted/main")
case("unknown dispatch", ("epyc6", "--id", "d1"), REFUSED, "unknown_dispatch", "d1")
case(
    "DNS failure",
    RUN,
    UNREACHABLE,
    "dns_failure",
    "nosuch.invalid",
    entry(opencode="http://nosuch.invalid:4105"),
)
case("refused connection", RUN, UNREACHABLE, "connection_refused", "/global/health", at_closed)
case(
    "hanging server",
    (*RUN, "--preflight-timeout", "2"),
    UNREACHABLE,
    "answer_timeout",
    "no answer",
    at_hanging,
)
case("self-signed certificate", RUN, UNREACHABLE, "tls_error", "certificate", at_self_signed)
case("TLS to a plain server", RUN, UNREACHABLE, "tls_mismatch", "plain HTTP", at_plain_http_by_tls)
case("401", RUN, REFUSED, "unauthorized", "password", answers(unauthorized()))
case("HTML with 200", RUN, REFUSED, "not_opencode", "text/html", answers(answer(200, HTML, "text/html")))
case(
    "JSON of another service",
    RUN,
    REFUSED,
    "not_opencode",
    "another",
    answers(answer(200, {"status": "ok"})),
)
case("truncated JSON", RUN, REFUSED, "not_opencode", "broken JSON", answers(answer(200, b'{"healthy": tr')))
case("a redirect", RUN, REFUSED, "redirected", "to https://sso.example", answers(redirect))
case("a gateway's error", RUN, UNREACHABLE, "gateway_error", "502", answers(answer(502, HTML, "text/html")))
case("an OpenCode that is too old", RUN, REFUSED, "version_unsupported", "OpenCode 1.18.14", runs("1.18.14"))
case("OpenCode 2", RUN, REFUSED, "version_unsupported", "OpenCode 2.3.2", opencode_2)
case("a broken project", RUN, REFUSED, "config_invalid", "provider: Expected object, got 7", broken_project)
case("two projects of one name", RUN, REFUSED, "repo_ambiguous", "/srv/repos/affordabot", two_of_one_name)
case(
    "a session whose directory is gone",
    ("epyc6", "--session", "ses_old", "Run make test"),
    REFUSED,
    "directory_gone",
    "/srv/worktrees/gone",
    session_without_a_directory,
)
case(
    "500 with a log ref",
    RUN,
    UNREACHABLE,
    "server_error",
    "err_30e885de",
    answers(answer(500, REF), "/session/"),
)


@pytest.mark.parametrize(("words", "code", "reason", "said", "arrange"), CASES)
def test_it_is_one_line_with_a_reason_and_what_to_do_and_nothing_happens(
    controller: Controller, words: tuple[str, ...], code: int, reason: str, said: str, arrange: Arrange
) -> None:
    arrange(controller)
    done = controller.run("--json", *words)
    check_document(done, code, reason, said)
    controller.check_untouched()

    if code == USAGE or reason in SHOWN_TO_PEOPLE:
        done = controller.run(*words)
        check_lines(done, code, reason, said)
        controller.check_untouched()


def check_document(done: Completed, code: int, reason: str, said: str) -> None:
    assert done.code == code, done.out + done.err
    document = done.document()
    RESULT.validate(document)
    assert document["exit_code"] == code
    (told,) = [document["error"]] if document["error"] else document["results"]
    assert told["reason_code"] == reason, told
    assert said in told["message_to_human"], told
    assert "\n" not in told["message_to_human"]
    assert told["next_action"], told
    assert done.err == ""


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
    ],
    ids=["one byte too many", "too many in UTF-8", "NUL", "empty"],
)
def test_a_task_on_standard_input_has_the_same_limits(controller: Controller, task: str, reason: str) -> None:
    done = controller.run("--json", "epyc6", "affordabot", "-", stdin=task)
    check_document(done, USAGE, reason, "the task")
    assert controller.fake.requests == []
    controller.check_untouched()


def test_a_bad_vm_among_all_is_named_and_does_not_stop_the_others(controller: Controller) -> None:
    another_vm(macmini={"opencode": f"http://127.0.0.1:{closed_port()}"})(controller)
    done = controller.run("--json", "--all", "nosuch", "Run make test")
    assert done.code == FAILED, done.out + done.err
    reasons = {vm: result["reason_code"] for vm, result in done.results().items()}
    assert reasons == {"epyc6": "repo_not_found", "macmini": "connection_refused"}
    controller.check_untouched()


@pytest.mark.parametrize("command", ["list", "status"])
def test_looking_at_a_fleet_that_is_wrong_is_the_same_error(controller: Controller, command: str) -> None:
    controller.describe(local=1)
    check_document(controller.look(command), USAGE, "endpoints_invalid", "$.vms.epyc6.local: ")
    controller.check_untouched()


def test_the_status_of_a_vm_that_is_gone_says_so(controller: Controller) -> None:
    at_closed(controller)
    check_document(controller.look("status"), UNREACHABLE, "connection_refused", "/global/health")
    controller.check_untouched()


def test_a_playbook_says_the_same_as_the_command(controller: Controller) -> None:
    words = ("dx.fleet.dispatch", "-e", "target=epyc6", "-e", "repo=nosuch", "-e", "task=Run")
    done = run_ansible("ansible-playbook", "-i", str(controller.file), *words, env=controller.env)
    assert done.code == 2
    assert f"epyc6 has no repo 'nosuch'; tried {HOME}/nosuch" in done.out
    assert '"reason_code": "repo_not_found"' in done.out
    assert "Traceback" not in done.out + done.err
    assert {method for method, _ in controller.fake.requests} == {"GET"}
