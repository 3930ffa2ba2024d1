# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints file: what it may hold, what a fleet comes of it, and how an error names its place."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.config.endpoints import (
    endpoints_of,
    find_endpoints,
    load_fleet,
    parse_fleet,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import ConfigError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import VM, Fleet, RepoPolicy
from hypothesis import given

from tests.command import CHECKOUT
from tests.unit.endpoints_files import PLAIN, almost_files, any_json, file_text, one_vm

SOURCE = "fleet.json"


def parsed(data: Any, hostnames: tuple[str, ...] = ()) -> Fleet:
    return parse_fleet(file_text(data), source=SOURCE, hostnames=hostnames)


def the_vm(**entry: Any) -> VM:
    (vm,) = parsed(one_vm(**entry)).vms
    return vm


def refused(data: Any) -> ConfigError:
    return refused_text(file_text(data))


def refused_text(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_fleet(text, source=SOURCE, hostnames=())
    error = caught.value
    assert error.message.startswith(SOURCE)
    assert "\n" not in error.message
    assert error.next_action
    return error


# -- what a fleet comes of it --


def test_the_file_that_users_have_is_valid_as_it_stands() -> None:
    fleet = parsed(PLAIN, hostnames=("homedesktop-wsl",))
    assert fleet.names() == ("homedesktop", "macmini", "epyc6")
    assert fleet.slack_audit_channel == "C09MQGMFKDE"
    assert fleet.default().name == "epyc6"
    assert fleet.find("homedesktop-wsl").local


def test_the_shipped_file_has_the_alias_on_every_machine() -> None:
    fleet = load_fleet(CHECKOUT / "inventory" / "vm-endpoints.json", hostnames=("elsewhere",))
    assert fleet.find("homedesktop-wsl").url == "http://localhost:4105"


def test_a_vm_answers_to_its_aliases_its_ssh_host_and_its_tailscale_name() -> None:
    vm = the_vm(aliases=["big"], ssh="feng@epyc", tailscale="epyc6-ts.tail76761.ts.net")
    assert vm.aliases == ("big", "epyc", "epyc6-ts.tail76761.ts.net", "epyc6-ts")
    assert (vm.ssh_user, vm.ssh_host) == ("feng", "epyc")


def test_only_the_local_vm_answers_to_this_machines_name() -> None:
    names = (socket.gethostname(),)
    assert socket.gethostname() in parse_fleet(file_text(one_vm(local=True)), source=SOURCE).vms[0].aliases
    assert parse_fleet(file_text(one_vm(local=False)), source=SOURCE).vms[0].aliases == ()
    assert parsed(one_vm(local=True), hostnames=names).vms[0].aliases == names


def test_ssh_needs_no_user_and_null_is_this_machine() -> None:
    assert (the_vm(ssh="epyc").ssh_user, the_vm(ssh="epyc").ssh_host) == (None, "epyc")
    assert the_vm(ssh=None).ssh_host is None


@pytest.mark.parametrize(
    ("ssh", "parts"),
    [
        ("feng@epyc6", ("feng", "epyc6", None)),
        ("feng@epyc6:2222", ("feng", "epyc6", 2222)),
        ("epyc6:2222", (None, "epyc6", 2222)),
        ("feng@[fd7a::1]:2222", ("feng", "fd7a::1", 2222)),
        ("feng@[fd7a::1]", ("feng", "fd7a::1", None)),
        ("feng@fd7a::1", ("feng", "fd7a::1", None)),
        ("a@b@epyc6", ("a@b", "epyc6", None)),
    ],
)
def test_ssh_is_user_host_and_port(ssh: str, parts: tuple[str | None, str, int | None]) -> None:
    vm = the_vm(ssh=ssh)
    assert (vm.ssh_user, vm.ssh_host, vm.ssh_port) == parts


def test_a_vm_without_a_port_answers_to_its_ssh_host_and_so_does_one_with_a_port() -> None:
    assert the_vm(ssh="feng@epyc").aliases == the_vm(ssh="feng@epyc:2222").aliases == ("epyc",)


def test_a_repo_has_a_policy_on_every_vm() -> None:
    entry = {
        "verify": "make test ARGS='{{ x }}'",
        "report": "build/junit*.xml",
        "verify_timeout": 90,
        "base": "origin/main",
        "worktree": "always",
        "push": True,
        "close_on": "completed",
        "counts": "none",
    }
    fleet = parsed({**one_vm(), "repos": {"affordabot": entry, "docs": {}}})
    assert fleet.repos == {
        "affordabot": RepoPolicy(
            verify="make test ARGS='{{ x }}'",
            report="build/junit*.xml",
            verify_timeout_s=90,
            base="origin/main",
            worktree="always",
            push=True,
            close_on="completed",
            counts="none",
        ),
        "docs": RepoPolicy(),
    }


def test_remote_vms_may_each_have_a_server_on_their_own_loopback() -> None:
    fleet = parsed(
        {
            "vms": {
                "home": {"opencode": "http://localhost:4105", "local": True},
                "a": {"opencode": "http://localhost:4105", "ssh": "me@a"},
                "b": {"opencode": "http://localhost:4105", "ssh": "me@b"},
            }
        }
    )
    assert fleet.names() == ("home", "a", "b")


def test_the_optional_keys_reach_the_vm() -> None:
    vm = the_vm(
        enabled=False,
        max_concurrent=2,
        repos={"affordabot": "/srv/affordabot/", "docs": "~/docs"},
        repos_root="~/repos/",
        worktrees_root="~/work/",
        ssh="feng@epyc",
        transport="ssh",
        password_env="EPYC6_PASSWORD",
        description="the big one",
    )
    assert (vm.enabled, vm.max_concurrent, vm.password_env) == (False, 2, "EPYC6_PASSWORD")
    assert vm.repos == {"affordabot": "/srv/affordabot", "docs": "~/docs"}
    assert (vm.repos_root, vm.worktrees_root, vm.transport) == ("~/repos", "~/work", "ssh")
    assert vm.description == "the big one"


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("http://epyc6:4105/", "http://epyc6:4105"),
        ("https://epyc6/opencode/", "https://epyc6/opencode"),
        ("http://[::1]:4105", "http://[::1]:4105"),
        ("http://100.64.0.1:4105", "http://100.64.0.1:4105"),
    ],
)
def test_a_url_is_taken_without_its_last_slash(given_: str, kept: str) -> None:
    assert the_vm(opencode=given_).url == kept


# -- where it is wrong --


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ":1:1:"),
        ("{", ":1:2:"),
        ('{\n  "vms": {\n    "a" {}\n  }\n}', ":3:9:"),
        ("{'vms': {}}", ":1:2:"),
        ('{"vms": {},}', ":1:1"),
        ("\ufeff{}", ":1:1:"),
    ],
)
def test_text_that_is_not_json_is_answered_with_its_line_and_column(text: str, place: str) -> None:
    error = refused_text(text)
    assert error.reason_code == "endpoints_malformed"
    assert error.message.startswith(SOURCE + place)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ([], "$"),
        ({}, "$.vms"),
        ({"vms": []}, "$.vms"),
        ({"vms": {}}, "$.vms"),
        ({"vms": {"epyc6": "http://epyc6:4105"}}, "$.vms.epyc6"),
        ({"vms": {"epyc6": {}}}, "$.vms.epyc6.opencode"),
        ({"vms": {"mac mini": {"opencode": "http://a:1"}}}, '$.vms["mac mini"]'),
        ({"vms": {"a.b": {"opencode": 7}}}, '$.vms["a.b"].opencode'),
        (one_vm(ssh=["a"]), "$.vms.epyc6.ssh"),
        (one_vm(ssh=""), "$.vms.epyc6.ssh"),
        (one_vm(ssh="-oProxyCommand=x"), "$.vms.epyc6.ssh"),
        (one_vm(ssh="-l@epyc6"), "$.vms.epyc6.ssh"),
        (one_vm(ssh="epyc6:99999"), "$.vms.epyc6.ssh"),
        (one_vm(ssh="epyc6:0"), "$.vms.epyc6.ssh"),
        (one_vm(transport="tcp"), "$.vms.epyc6.transport"),
        (one_vm(transport="ssh"), "$.vms.epyc6.transport"),
        (one_vm(transport="ssh", ssh="me@epyc6", local=True), "$.vms.epyc6.transport"),
        (one_vm(worktrees_root="work"), "$.vms.epyc6.worktrees_root"),
        ({**one_vm(), "repos": {"a": {"verify": ""}}}, "$.repos.a.verify"),
        ({**one_vm(), "repos": {"a": {"verify": ["make"]}}}, "$.repos.a.verify"),
        ({**one_vm(), "repos": {"a": {"report": "/tmp/x.xml"}}}, "$.repos.a.report"),
        ({**one_vm(), "repos": {"a": {"report": "x/../../y.xml"}}}, "$.repos.a.report"),
        ({**one_vm(), "repos": {"a": {"verify_timeout": 0}}}, "$.repos.a.verify_timeout"),
        ({**one_vm(), "repos": {"a": {"verify_timeout": True}}}, "$.repos.a.verify_timeout"),
        ({**one_vm(), "repos": {"a": {"base": "--upload-pack=x"}}}, "$.repos.a.base"),
        ({**one_vm(), "repos": {"a": {"base": "a b"}}}, "$.repos.a.base"),
        ({**one_vm(), "repos": {"a": {"worktree": "yes"}}}, "$.repos.a.worktree"),
        ({**one_vm(), "repos": {"a": {"push": "force"}}}, "$.repos.a.push"),
        ({**one_vm(), "repos": {"a": {"close_on": "failed"}}}, "$.repos.a.close_on"),
        ({**one_vm(), "repos": {"a": {"counts": 0}}}, "$.repos.a.counts"),
        ({**one_vm(), "repos": {"a b": {"verfy": "x"}}}, '$.repos["a b"].verfy'),
        (one_vm(local="true"), "$.vms.epyc6.local"),
        (one_vm(local=1), "$.vms.epyc6.local"),
        (one_vm(aliases="big"), "$.vms.epyc6.aliases"),
        (one_vm(aliases=["ok", "not ok"]), "$.vms.epyc6.aliases[1]"),
        (one_vm(max_concurrent=0), "$.vms.epyc6.max_concurrent"),
        (one_vm(max_concurrent="3"), "$.vms.epyc6.max_concurrent"),
        (one_vm(repos={"a": "relative"}), "$.vms.epyc6.repos.a"),
        (one_vm(repos_root="relative"), "$.vms.epyc6.repos_root"),
        (one_vm(password_env="two words"), "$.vms.epyc6.password_env"),
        (one_vm(pasword_env="TYPO"), "$.vms.epyc6.pasword_env"),
        (one_vm(tailscale="-x"), "$.vms.epyc6.tailscale"),
        ({**one_vm(), "default": "epyc6"}, "$.default"),
        ({**one_vm(), "default_vm": "epyc7"}, "$.default_vm"),
        ({**one_vm(), "slack_audit_channel": ""}, "$.slack_audit_channel"),
    ],
)
def test_what_is_wrong_is_named_by_its_json_path(data: Any, path: str) -> None:
    error = refused(data)
    assert error.reason_code == "endpoints_invalid"
    assert error.message.startswith(f"{SOURCE}: {path}: "), error.message
    assert path in (error.next_action or "")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("epyc6:4105", "http(s) URL"),
        ("ftp://epyc6", "http(s) URL"),
        ("http://", "http(s) URL"),
        ("http://:4105", "http(s) URL"),
        ("http://epyc6:0", "http(s) URL"),
        ("http://epyc6:99999", "is not a URL"),
        ("http://epyc6:port", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://epyc6:4105?directory=/", "only scheme, host, port and path"),
        ("http://epyc6:4105#x", "only scheme, host, port and path"),
        ("http://epyc6 :4105", "only scheme, host, port and path"),
        ("http://feng:secret@epyc6:4105", "credentials"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_with_the_reason(url: str, why: str) -> None:
    error = refused(one_vm(opencode=url))
    assert error.message.startswith(f"{SOURCE}: $.vms.epyc6.opencode: ")
    assert why in error.message


def test_a_password_in_a_url_is_not_repeated() -> None:
    assert "secret" not in refused(one_vm(opencode="http://feng:secret@epyc6:4105")).message


def test_a_key_that_stands_twice_is_an_error_and_not_the_last_one() -> None:
    error = refused_text('{"vms": {"a": {"opencode": "http://a:1"}, "a": {"opencode": "http://b:1"}}}')
    assert error.reason_code == "endpoints_invalid"
    assert "'a' stands twice" in error.message


def test_two_vms_with_one_server_are_an_error() -> None:
    error = refused({"vms": {"a": {"opencode": "http://X:1"}, "b": {"opencode": "http://x:1/"}}})
    assert error.message.startswith(f"{SOURCE}: $.vms.b.opencode: is the server of a as well")


def test_names_that_differ_only_in_case_are_an_error() -> None:
    error = refused({"vms": {"a": {"opencode": "http://x:1"}, "A": {"opencode": "http://y:1"}}})
    assert error.message.startswith(f"{SOURCE}: $.vms.A: ")


def test_a_default_vm_that_two_answer_to_is_an_error() -> None:
    entries = {name: {"opencode": f"http://{name}:1", "aliases": ["desk"]} for name in ("a", "b")}
    error = refused({"vms": entries, "default_vm": "desk"})
    assert error.message.startswith(f"{SOURCE}: $.default_vm: ")
    assert "ambiguous" in error.message


@pytest.mark.parametrize(
    "name", ["opencode", "disabled", "local", "remote", "default_vm", "all", "ungrouped"]
)
def test_no_vm_may_have_the_name_of_a_group(name: str) -> None:
    """As a host pattern it would mean many VMs."""
    assert "group" in refused({"vms": {name: {"opencode": "http://a:1"}}}).message
    assert "group" in refused(one_vm(aliases=[name])).message
    assert the_vm(ssh=f"feng@{name}").aliases == ()


def test_several_faults_are_counted() -> None:
    assert "(and 1 more)" in refused(one_vm(local=1, enabled=2)).message


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"vms": ' * 5_000,
        '{"vms": ' + "1" * 5_000 + "}",
        '{"vms": {"\\ud800": {"opencode": "http://a:1"}}}',
        '{"\\ud800": 1}',
        '{"vms": {"a": {"opencode": "http://\\ud800:1"}}}',
        '{"vms": {"a": {"opencode": "http://a:1", "\\ud800": 1}}}',
        '{"vms": {"a": {"opencode": "http://a:1", "description": "\\ud800"}}}',
        '{"vms": NaN}',
        '{"vms": {"a\\n": {"opencode": "http://a:1"}}}',
    ],
    ids=lambda text: f"{text[:20]}..",
)
def test_awkward_json_is_an_error_of_ours_like_any_other(text: str) -> None:
    assert refused_text(text).reason_code in ("endpoints_malformed", "endpoints_invalid")


@given(any_json)
def test_any_json_is_a_fleet_or_an_error_of_ours(data: Any) -> None:
    check_any(json.dumps(data))


@given(almost_files)
def test_any_file_of_the_right_outline_is_a_fleet_or_an_error_of_ours(data: Any) -> None:
    check_any(file_text(data))


def check_any(text: str) -> None:
    try:
        fleet = parse_fleet(text, source=SOURCE, hostnames=("me",))
    except ConfigError as error:
        found = error.message
    else:
        found = ""
        assert all(fleet.find(vm.name) is vm for vm in fleet.vms)
    assert "\n" not in found


# -- where it is --


def written(path: Path, data: Any = PLAIN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file_text(data))
    return path


def test_the_variable_goes_before_the_home_and_that_before_the_fallback(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fallback = written(tmp_path / "inventory" / "vm-endpoints.json")
    named = tmp_path / "named.json"
    environ = {"HOME": str(home), "DX_VM_ENDPOINTS": str(named)}
    assert find_endpoints({"HOME": str(home)}, fallback) == fallback
    at_home = written(home / ".agent-skills" / "vm-endpoints.json")
    assert find_endpoints({"HOME": str(home)}, fallback) == at_home
    assert find_endpoints(environ, fallback) == named, "what is named is used even if it is not there"


def test_without_any_file_the_error_shows_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_endpoints({"HOME": str(tmp_path)}, tmp_path / "none.json")
    assert caught.value.reason_code == "endpoints_missing"
    example = (caught.value.next_action or "").partition("one VM: ")[2]
    assert parse_fleet(example, source=SOURCE).default().name == "epyc6"


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x.json", "a\0b.json"])
def test_a_name_that_leads_nowhere_is_an_error_of_ours(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_fleet(find_endpoints({"DX_VM_ENDPOINTS": name}))
    assert caught.value.reason_code in ("endpoints_missing", "endpoints_unreadable")
    source = tmp_path / "fleet.yml"
    source.write_text(f"plugin: dx.fleet.vm_endpoints\nendpoints: {json.dumps(name)}\n")
    with pytest.raises(ConfigError):
        load_fleet(endpoints_of(source, {}))


def test_an_inventory_source_names_its_file_from_its_own_folder(tmp_path: Path) -> None:
    source = tmp_path / "inventory" / "fleet.yml"
    source.parent.mkdir()
    source.write_text("plugin: dx.fleet.vm_endpoints\nendpoints: ../work/fleet.json\n")
    assert endpoints_of(source, {"HOME": str(tmp_path)}).resolve() == tmp_path / "work" / "fleet.json"


def test_an_endpoints_file_is_an_inventory_source_itself(tmp_path: Path) -> None:
    assert endpoints_of(tmp_path / "x.json", {}) == tmp_path / "x.json"


def test_an_inventory_source_that_names_none_has_the_file_beside_it_for_a_fallback(tmp_path: Path) -> None:
    source = tmp_path / "fleet.yml"
    source.write_text("plugin: dx.fleet.vm_endpoints\n")
    beside = written(tmp_path / "vm-endpoints.json")
    assert endpoints_of(source, {"HOME": str(tmp_path / "home")}) == beside


@pytest.mark.parametrize("text", ["a: [", "\0", "- a\n- b: ]"])
def test_an_inventory_source_that_is_not_yaml_is_an_error_of_ours(text: str, tmp_path: Path) -> None:
    source = tmp_path / "fleet.yml"
    source.write_text(text)
    with pytest.raises(ConfigError) as caught:
        endpoints_of(source, {"HOME": str(tmp_path)})
    assert caught.value.reason_code == "inventory_unreadable"
    assert "\n" not in caught.value.message


def test_a_file_that_is_missing_a_folder_or_no_text_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.json"
    latin.write_bytes(b'{"vms": "\xe9"}')
    cases = {
        tmp_path / "none.json": "endpoints_missing",
        tmp_path: "endpoints_unreadable",
        latin: "endpoints_malformed",
    }
    for path, reason in cases.items():
        with pytest.raises(ConfigError) as caught:
            load_fleet(path)
        assert caught.value.reason_code == reason
        assert str(path) in caught.value.message
