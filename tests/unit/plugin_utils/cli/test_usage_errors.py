# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends dx-dispatch before a playbook runs: one line and one document, a reason, what to do, and exit code 2.

Some of each kind are typed in a process of their own in tests/integration/test_bad_input.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.app import run_dispatch

from tests.unit.endpoints_files import file_text, one_vm
from tests.unit.test_schemas import RESULT

RUN = ("epyc6", "affordabot", "Run make test")
DESK = {"aliases": ["desk"]}
TWO_DESKS = {
    "vms": {
        "macmini": {"opencode": "http://macmini:1", **DESK},
        "homedesktop": {"opencode": "http://homedesktop:1", **DESK},
    }
}


@pytest.fixture
def endpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The endpoints file of a person; it is all that they have."""
    path = tmp_path / "vm-endpoints.json"
    monkeypatch.setenv("DX_VM_ENDPOINTS", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return path


def check_both_ends(
    words: tuple[str, ...], reason: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_dispatch(["--json", *words]) == 2
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    RESULT.validate(document)
    error = document["error"]
    assert (document["exit_code"], document["results"], error["reason_code"]) == (2, [], reason)
    assert said in error["message_to_human"]
    assert "\n" not in error["message_to_human"]
    assert error["next_action"]
    assert shown.err == ""

    assert run_dispatch(words) == 2
    shown = capsys.readouterr()
    first, following = shown.err.splitlines()
    assert said in first
    assert f"({reason})" in first
    assert following.startswith("next: ")
    assert (first + following).isprintable()
    assert shown.out == ""


@pytest.mark.parametrize(
    ("words", "reason", "said"),
    [
        pytest.param(("epyc7", *RUN[1:]), "unknown_vm", "epyc6", id="unknown VM"),
        pytest.param((*RUN, "--all"), "vm_and_all", "'epyc6'", id="both a VM and --all"),
        pytest.param((), "task_missing", "nothing to do", id="no word at all"),
        pytest.param(RUN[:2], "task_missing", "'epyc6' is a VM", id="no task"),
        pytest.param((*RUN, "--nosuch"), "usage", "--nosuch", id="unknown option"),
        pytest.param((*RUN, "--timeout", "soon"), "usage", "'soon'", id="limit that is no number"),
        pytest.param((*RUN[:2], ""), "empty_task", "empty", id="empty task"),
        pytest.param((*RUN[:2], " \n\t"), "empty_task", "empty", id="blank task"),
        pytest.param((*RUN[:2], "a\udcffb"), "bad_task_text", "character 1", id="lone surrogate in the task"),
        pytest.param(("epyc6", "a\udcff", "Run"), "bad_text", "not valid text", id="... in the repo"),
        pytest.param(
            (*RUN, "--session", "ses_\udcff"), "bad_text", "not valid text", id="... in the session"
        ),
        pytest.param((*RUN, "--id", "a b"), "bad_dispatch_id", "'a b'", id="bad id"),
    ],
)
def test_words_that_cannot_be_meant(
    endpoints: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str, said: str
) -> None:
    endpoints.write_text(file_text({**one_vm(), "default_vm": "epyc6"}))
    check_both_ends(words, reason, said, capsys)
    assert list(endpoints.parent.rglob("*")) == [endpoints]


@pytest.mark.parametrize(
    ("data", "words", "reason", "said"),
    [
        pytest.param(
            TWO_DESKS, ("desk", *RUN[1:]), "ambiguous_vm", "macmini and homedesktop", id="ambiguous"
        ),
        pytest.param(None, RUN, "endpoints_missing", "no such file", id="missing"),
        pytest.param("", RUN, "endpoints_malformed", "vm-endpoints.json:1:1:", id="empty"),
        pytest.param(
            '{\n "vms": {\n    "a" {}\n }\n}', RUN, "endpoints_malformed", ":3:9: not JSON", id="malformed"
        ),
        pytest.param(one_vm(local="yes"), RUN, "endpoints_invalid", "$.vms.epyc6.local: ", id="wrong type"),
        pytest.param({"vms": []}, RUN, "endpoints_invalid", "$.vms: ", id="wrong shape"),
        pytest.param(
            one_vm(pasword_env="PW"), RUN, "endpoints_invalid", "$.vms.epyc6.pasword_env: ", id="unknown key"
        ),
        pytest.param(
            one_vm(opencode="epyc6:4105"),
            RUN,
            "endpoints_invalid",
            "$.vms.epyc6.opencode: is not",
            id="malformed URL",
        ),
        pytest.param(
            one_vm(opencode="http://a:b@epyc6:1"),
            RUN,
            "endpoints_invalid",
            "credentials",
            id="URL with a password",
        ),
        pytest.param(
            one_vm(opencode="http://epyc6:99999"),
            RUN,
            "endpoints_invalid",
            "is not a URL",
            id="port out of range",
        ),
    ],
)
def test_a_file_that_is_wrong(
    endpoints: Path,
    capsys: pytest.CaptureFixture[str],
    data: Any,
    words: tuple[str, ...],
    reason: str,
    said: str,
) -> None:
    if data is not None:
        endpoints.write_text(data if isinstance(data, str) else file_text(data))
    check_both_ends(words, reason, said, capsys)
    assert [path for path in endpoints.parent.rglob("*") if path != endpoints] == []
