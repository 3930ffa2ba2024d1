# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-doc says is what the code takes and gives."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dx.fleet.plugins.module_utils import specs
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge import action as ansible_action
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, ToolRun

from tests.command import CHECKOUT, run_ansible

COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "dx" / "fleet"
SPECS = {
    "opencode_info": specs.INFO,
    "opencode_dispatch": specs.DISPATCH,
    "opencode_locate": specs.LOCATE,
    "opencode_wait": specs.WAIT,
    "opencode_stop": specs.STOP,
    "opencode_reply": specs.REPLY,
    "dispatch_worktree": specs.WORKTREE_STEP,
    "dispatch_verify": specs.VERIFY_STEP,
    "beads_claim": specs.CLAIM,
    "beads_info": specs.BEADS_INFO,
    "beads_reap": specs.REAP,
    "worktree_reap": specs.WORKTREE_REAP,
    "fleet_test_report": specs.FLEET_TEST_REPORT,
}
ON_THE_HOST = {
    "git_worktree": specs.GIT_WORKTREE,
    "git_worktree_info": specs.GIT_WORKTREE_INFO,
    "verify_work": specs.VERIFY_WORK,
    "work_processes": specs.WORK_PROCESSES,
}
"""Modules without an action: all of it runs where the connection leads."""
ON_THE_TRACKER = ("beads_claim", "beads_info")
COMPARED = ("type", "elements", "default", "required", "choices")

Options = Mapping[str, Mapping[str, Any]]
ALL = {**SPECS, **ON_THE_HOST}
MODULES = pytest.mark.parametrize("name", list(ALL))


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ansible-doc knows of each module."""
    names = [f"dx.fleet.{name}" for name in ALL]
    home = str(tmp_path_factory.mktemp("home"))
    done = run_ansible("ansible-doc", "--json", *names, env={"HOME": home})
    assert done.code == 0, done.err
    return {name.removeprefix("dx.fleet."): found for name, found in json.loads(done.out).items()}


def as_spec(options: Options) -> dict[str, Any]:
    """Documented options, or the options of an argument spec, as far as both can say it."""
    return {
        name: {key: option[key] for key in COMPARED if option.get(key) not in (None, False)}
        | {"options": as_spec(option.get("options") or option.get("suboptions") or {})}
        for name, option in options.items()
    }


def all_options(options: Options) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, option in options.items():
        yield name, option
        yield from all_options(option.get("suboptions") or {})


@MODULES
def test_the_options_are_those_of_the_argument_spec(name: str, documented: dict[str, Any]) -> None:
    assert as_spec(documented[name]["doc"]["options"]) == as_spec(ALL[name])


@pytest.mark.parametrize("name", list(SPECS))
def test_an_option_says_from_which_host_variable_it_comes(name: str, documented: dict[str, Any]) -> None:
    options = documented[name]["doc"]["options"]
    for option, variable in ansible_action._HOST_VARIABLES.items():
        if option in options:
            assert f"host variable C({variable})" in " ".join(options[option]["description"]), option


@MODULES
def test_everything_has_a_description_and_the_attributes_are_there(
    name: str, documented: dict[str, Any]
) -> None:
    doc = documented[name]["doc"]
    assert all(option.get("description") for _, option in all_options(doc["options"]))
    assert all(found["support"] for found in doc["attributes"].values())
    of_actions = {"action", "action_group"} if name in SPECS else set()
    assert {"check_mode", "async", "idempotent"} | of_actions <= set(doc["attributes"])
    assert doc["version_added"] == "0.1.0"


@MODULES
def test_the_examples_are_plays_that_use_only_documented_options(
    name: str, documented: dict[str, Any]
) -> None:
    plays = yaml.safe_load(documented[name]["examples"])
    used = [task for play in plays for task in play["tasks"] if f"dx.fleet.{name}" in task]
    assert used
    for play in plays:
        for task in play["tasks"]:
            for module, options in documented.items():
                given = task.get(f"dx.fleet.{module}") or {}
                assert set(given) <= set(options["doc"]["options"]), task["name"]


@pytest.mark.parametrize("name", [name for name in SPECS if name not in ON_THE_TRACKER])
def test_the_module_itself_says_where_the_work_is_done(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"ansible_collections.dx.fleet.plugins.modules.{name}")
    required = {
        "opencode_locate": {"dispatch": "d1"},
        "opencode_wait": {"session": "ses_1"},
        "fleet_test_report": {"vms": ["epyc6"], "repo": "affordabot", "ref": "main"},
    }
    with patch_module_args(required.get(name, {})), pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 1
    assert "runs on the controller, as an action plugin" in json.loads(capsys.readouterr().out)["msg"]


def test_every_action_has_a_module_and_is_in_the_action_group() -> None:
    actions = {path.stem for path in (COLLECTION / "plugins" / "action").glob("[a-z]*.py")}
    modules = {path.stem for path in (COLLECTION / "plugins" / "modules").glob("[a-z]*.py")}
    runtime = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text())
    assert actions == set(SPECS)
    assert modules == actions | set(ON_THE_HOST)
    assert {name for names in runtime["action_groups"].values() for name in names} == actions


def test_the_returned_outcome_is_documented_to_its_last_key(documented: dict[str, Any]) -> None:
    outcome = documented["opencode_wait"]["return"]["outcome"]
    evidence = outcome["contains"]["evidence"]
    assert set(outcome["contains"]) == {field.name for field in fields(Outcome)}
    assert set(evidence["contains"]) == {field.name for field in fields(Evidence)}
    assert set(evidence["contains"]["tools"]["contains"]) == {field.name for field in fields(ToolRun)}


@pytest.mark.parametrize("name", ["opencode_dispatch", "opencode_wait"])
def test_the_sample_outcome_is_one(name: str, documented: dict[str, Any]) -> None:
    sample = documented[name]["return"]["outcome"]["sample"]
    evidence = dict(sample.get("evidence", {}))
    evidence["tools"] = tuple(ToolRun(**tool) for tool in evidence.get("tools", ()))
    Outcome(**{**sample, "evidence": Evidence(**evidence)})


def test_the_inventory_plugin_is_documented(tmp_path: Path) -> None:
    done = run_ansible("ansible-doc", "-t", "inventory", "dx.fleet.vm_endpoints", env={"HOME": str(tmp_path)})
    assert done.code == 0, done.err
    assert "vm_endpoints" in done.out
    assert "endpoints  The vm-endpoints file" in done.out
