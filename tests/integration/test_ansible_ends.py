# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever ends Ansible, or would, is one line or one document; what is for other work of the user changes nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest

from tests import schemas
from tests.command import Completed, command_of, environment

from .controller import Controller

LOOK = ("epyc6", "affordabot", "Run make test", "--dry-run")
SCHEMA = jsonschema.Draft202012Validator(schemas.dispatch_result())
BROKEN = "[defaults]\nvault_password_file = /nosuch/vault\nforks = many\n"


def check_as_ever(done: Completed) -> None:
    """The look went as it goes without all that."""
    SCHEMA.validate(done.document())
    assert (done.code, done.result()["state"], done.err) == (0, "planned", ""), done


OTHER_WORK = {
    "C": {"LC_ALL": "C"},
    "POSIX": {"LC_ALL": "POSIX", "LANG": "C"},
    "a locale that is not there": {"LC_ALL": "xx_YY.UTF-8"},
    "a locale that is not UTF-8": {"LC_ALL": "", "LANG": "tlh_QO.KOI8-R"},
    "more or less is shown": {
        "ANSIBLE_VERBOSITY": "4",
        "ANSIBLE_DEBUG": "1",
        "ANSIBLE_NO_LOG": "1",
        "ANSIBLE_STDOUT_CALLBACK": "nosuch",
    },
    "less is run": {
        "ANSIBLE_RUN_TAGS": "mine",
        "ANSIBLE_SKIP_TAGS": "all",
        "ANSIBLE_INVENTORY_ENABLED": "ini",
    },
    "it is run otherwise": {
        "ANSIBLE_TASK_TIMEOUT": "1",
        "ANSIBLE_STRATEGY": "ansible.builtin.debug",
        "ANSIBLE_FORKS": "0",
    },
}


@pytest.mark.parametrize("env", OTHER_WORK.values(), ids=OTHER_WORK)
def test_an_environment_for_other_work_changes_nothing(controller: Controller, env: dict[str, str]) -> None:
    check_as_ever(controller.run("--json", *LOOK, env=env))
    controller.check_untouched()


@pytest.mark.parametrize("where", ["work/ansible.cfg", "home/.ansible.cfg"])
def test_a_configuration_for_other_work_is_not_read(controller: Controller, where: str) -> None:
    (controller.root / where).write_text(BROKEN)
    check_as_ever(controller.run("--json", *LOOK))


def test_a_configuration_of_its_own_is_read(controller: Controller) -> None:
    own = controller.root / "home" / ".config" / "dx-fleet" / "ansible.cfg"
    own.parent.mkdir(parents=True)
    own.write_text("[defaults]\nvault_password_file = /nosuch/vault\n")
    done = controller.run("--json", *LOOK)
    error = done.document()["error"]
    assert (done.code, error["reason_code"]) == (2, "ansible_settings"), done
    assert "/nosuch/vault" in error["message_to_human"]
    assert str(own) in error["next_action"]


@pytest.mark.parametrize(
    ("env", "reason", "said", "following"),
    [
        ({"PYTHONUTF8": "0", "LC_ALL": "C"}, "locale_not_utf8", "the locale C is", "put LC_ALL=C.UTF-8"),
        ({"HOME": "/proc/nosuch"}, "home_not_writable", "/proc/nosuch/.ansible", "set ANSIBLE_HOME"),
        ({"ANSIBLE_HOME": "/dev/null"}, "home_not_writable", "/dev/null", "set ANSIBLE_HOME"),
        (
            {"ANSIBLE_LOG_PATH": "/proc/nosuch"},
            "ansible_settings",
            "/proc/nosuch",
            "look at ANSIBLE_LOG_PATH",
        ),
        (
            {"ANSIBLE_VAULT_PASSWORD_FILE": "/nosuch"},
            "ansible_settings",
            "/nosuch",
            "look at ANSIBLE_VAULT_PASSW",
        ),
        (
            {"ANSIBLE_CONFIG": "{root}/other.cfg"},
            "ansible_settings",
            "/nosuch/vault",
            "look at {root}/other.cfg",
        ),
        ({"ANSIBLE_GATHERING": "sometimes"}, "ansible_settings", "sometimes", "look at ANSIBLE_GATHERING"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_what_keeps_ansible_from_running_is_said_with_what_to_do(
    controller: Controller, env: dict[str, str], reason: str, said: str, following: str
) -> None:
    (controller.root / "other.cfg").write_text(BROKEN)
    env = {name: value.format(root=controller.root) for name, value in env.items()}
    done = controller.run("--json", *LOOK, env=env)
    SCHEMA.validate(done.document())
    error = done.document()["error"]
    assert (done.code, error["reason_code"]) == (2, reason), done
    assert said in error["message_to_human"]
    assert error["next_action"].startswith(following.format(root=controller.root))
    plain = controller.run(*LOOK, env=env)
    lines = [line for line in plain.err.splitlines() if not line.startswith("[WARNING]: ")]
    assert lines == [f"dx-dispatch: {error['message_to_human']} ({reason})", f"next: {error['next_action']}"]
    assert (plain.code, plain.out) == (2, "")


def test_a_folder_that_was_deleted_is_said(controller: Controller) -> None:
    gone = controller.root / "gone"
    gone.mkdir()
    script = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
    command = ["bash", "-c", script, "bash", *command_of("dx-dispatch"), *LOOK, "--json"]
    done = subprocess.run(
        command, env=environment(controller.env), capture_output=True, text=True, check=False
    )
    assert (
        Completed(done.returncode, done.stdout, done.stderr).document()["error"]["reason_code"]
        == "folder_gone"
    )
    assert done.returncode == 2


def shell(line: str, env: Mapping[str, str], *words: str) -> Completed:
    """Run a command as this line of a shell says, where it is ``"$@"``."""
    command = ["bash", "-c", line, "bash", *command_of("dx-dispatch"), *words]
    done = subprocess.run(command, env=environment(env), capture_output=True, text=True, check=False, cwd="/")
    return Completed(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ('"$@" >&-', 0, "", "dx-dispatch: standard output is closed: the exit code is all there is\n"),
        ('"$@" --json >&-', 0, "", "dx-dispatch: standard output is closed: the exit code is all there is\n"),
        ('"$@" <&-', 0, r"\[epyc6\] plan: .*", ""),
        ('"$@" <&- >&- 2>&-', 0, "", ""),
        ('"$@" 2>&-', 0, r"\[epyc6\] plan: .*", ""),
        (
            '"$@" >/dev/full',
            1,
            "",
            "dx-fleet: the result can't be written to standard output: No space left .*\n",
        ),
        ('"$@" --json | true; exit ${PIPESTATUS[0]}', "0|1", "", ""),
    ],
)
def test_a_closed_or_full_standard_stream_is_no_fault_of_ours(
    controller: Controller, line: str, code: int | str, out: str, err: str
) -> None:
    done = shell(line, controller.env, *LOOK)
    assert re.fullmatch(str(code), str(done.code)), done
    assert re.fullmatch(out, done.out, re.DOTALL), done
    assert re.fullmatch(err, done.err), done
    controller.check_untouched()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_signal_before_anything_was_sent_is_said(controller: Controller, number: signal.Signals) -> None:
    reading, writing = os.pipe()
    started = subprocess.Popen(
        [*command_of("dx-dispatch"), "epyc6", "affordabot", "-", "--json"],
        stdin=reading,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(controller.env),
        cwd=Path("/"),
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(reading)
    while _waits_for(started.pid) != "pipe":
        assert started.poll() is None
    started.send_signal(number)
    out, err = started.communicate(timeout=60)
    os.close(writing)
    done = Completed(started.returncode, out, err)
    assert (done.code, done.document()["error"]["reason_code"]) == (130, "interrupted"), done


def _waits_for(pid: int) -> str:
    """``pipe`` where the process is blocked in a read of its standard input."""
    try:
        number, descriptor, *_ = Path(f"/proc/{pid}/syscall").read_text().split()
    except (OSError, ValueError):
        return "running"
    return "pipe" if (number, descriptor) == ("0", "0x0") else "other"
