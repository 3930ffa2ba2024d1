# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as tests and the demo use it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

from .binaries import CHECKOUT, find_opencode
from .plan import DEFAULT_VMS, LAB_ID_VARIABLE, LabPlan, LabState, VMState, password_variable
from .processes import kill_lab, lab_processes, remove_tree
from .scripted_model import ScriptedModel
from .slack.binaries import find_emulator, find_node
from .slack.workspace import SlackWorkspace
from .ssh_server import SshFiles, find_sshd

__all__ = ["Lab", "LabError", "LabVM"]

_CONTROL_TIMEOUT_S = 150.0
_DOWN_TIMEOUT_S = 60.0
_ID_FILE = "lab-id"


class LabError(RuntimeError):
    """The lab could not do what was asked; the text says why, with the log of the server concerned."""


class LabVM:
    """One VM of a running lab: a real OpenCode server with a home of its own.

    ``url`` is like ``http://127.0.0.11:4105``; ``home`` its home directory; ``log`` the server's log; ``ssh`` is
    user@host:port of its sshd, None where it is local.
    """

    def __init__(self, state: VMState, lab_id: str, root: Path, control: httpx.Client) -> None:
        self.name = state.name
        self.host = state.host
        self.port = state.port
        self.url = state.url
        self.home = Path(state.home)
        self.password = state.password
        self.ssh = state.ssh
        self.log = root / "logs" / f"{state.name}.log"
        self._lab_id = lab_id
        self._control = control

    def __repr__(self) -> str:
        return f"LabVM({self.name!r}, {self.url!r})"

    def repo(self, name: str) -> Path:
        """Where that sample repository is cloned."""
        return self.home / name

    def http(self, **options: object) -> httpx.Client:
        """A client of the server, with its password."""
        auth = httpx.BasicAuth("opencode", self.password) if self.password else None
        return httpx.Client(  # verify=False: it speaks no TLS, and reading the certificates takes 17 ms
            base_url=self.url,
            auth=auth,
            timeout=60,
            trust_env=False,
            verify=False,
            **options,  # type: ignore[arg-type]
        )

    @property
    def alive(self) -> bool:
        """Whether the server's process lives."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """The process id of the server while it lives."""
        answer = self._control.get("/lab/status").raise_for_status().json()
        pid: int | None = answer["vms"][self.name]["pid"]
        return pid

    def children(self) -> list[psutil.Process]:
        """The live processes of this VM without the server: what its sessions started, orphans included."""
        server = self.pid
        return [process for process in lab_processes(self._lab_id, self.name) if process.pid != server]

    def start(self) -> None:
        """Start the server and wait till it is healthy; nothing if it lives."""
        self._order("start")

    def stop(self) -> None:
        """End the server cleanly: its runs are aborted and their children killed."""
        self._order("stop")

    def restart(self) -> None:
        """:meth:`stop` and :meth:`start`."""
        self._order("restart")

    def kill(self) -> None:
        """SIGKILL to the server; as with the real thing the children of its sessions live on."""
        self._order("kill")

    def pause(self) -> None:
        """SIGSTOP: connections are accepted, nothing is answered."""
        self._order("pause")

    def resume(self) -> None:
        """The end of :meth:`pause`."""
        self._order("resume")

    def _order(self, verb: str) -> None:
        answer = self._control.post(f"/lab/vms/{self.name}/{verb}")
        if answer.status_code != 200:
            raise LabError(f"{self.name}: {verb}: {answer.json().get('error', answer.text)}")


class Lab:
    """A fleet of real OpenCode servers on this machine, with a scripted model and sample repositories.

    Args:
        vms: names of the VMs; the shipped three by default.
        root: where everything of it goes, a new temporary directory by default; removed at the end.
        password: of all servers, or VM -> password.
        slack: with a Slack workspace. ``Lab(vms=(), slack=True)`` is a workspace alone.
    """

    def __init__(
        self,
        vms: Sequence[str] = DEFAULT_VMS,
        root: Path | None = None,
        password: str | Mapping[str, str] | None = None,
        *,
        slack: bool = False,
    ) -> None:
        self._names = tuple(vms)
        self._root = root
        if isinstance(password, str):
            password = dict.fromkeys(vms, password)
        self._passwords = dict(password or {})
        self._with_slack = slack
        self._keeper: subprocess.Popen[str] | None = None
        self._state: LabState | None = None
        self._slack: SlackWorkspace | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self, *, detached: bool = False) -> None:
        """Start everything and wait till it is healthy; nothing if it is up.

        Args:
            detached: it shall live on when this process ends; :meth:`attach` finds it again.

        Raises:
            BinaryMissingError: there is no OpenCode, or no Slack emulator.
            LabError: a server did not come up, or the root is not empty.
        """
        if self._state is not None:
            return
        binary = str(find_opencode()) if self._names else ""
        if self._with_slack:
            find_node(), find_emulator()
        lab_id = secrets.token_hex(8)
        root = _new_root(self._root, lab_id)
        try:
            sshd = find_sshd() if self._names else None
            plan = LabPlan(
                lab_id,
                str(root),
                self._names,
                binary,
                self._passwords,
                detached,
                self._with_slack,
                None if sshd is None else str(sshd),
            )
            self._keeper = _spawn_keeper(plan)
            self._become(_first_answer(self._keeper, root))
        except BaseException:
            self._end_keeper(lab_id, root)
            raise

    @classmethod
    def attach(cls, root: Path) -> Self:
        """The detached lab in that root.

        Raises:
            LabError: there is none that runs.
        """
        try:
            state = LabState.from_dict(json.loads(LabState.path(root).read_text()))
            answer = httpx.get(f"{state.origin}/lab/status", timeout=5, trust_env=False, verify=False).json()
        except (OSError, ValueError, httpx.HTTPError) as error:
            raise LabError(f"no lab runs in {root}") from error
        if answer.get("lab_id") != state.lab_id:
            raise LabError(f"no lab runs in {root}")
        lab = cls([vm.name for vm in state.vms], root)
        lab._become(state)
        return lab

    @staticmethod
    def discard(root: Path) -> None:
        """Remove what a lab that ended without its keeper (by a reboot, say) left in that root.

        Its processes are killed as well. Nothing, if that directory never was a lab.
        """
        marker = root / _ID_FILE
        if marker.is_file():
            kill_lab(marker.read_text().strip())
            remove_tree(root)

    def down(self) -> None:
        """End everything and remove the root; nothing if it is down."""
        if self._state is None:
            return
        state, self._state = self._state, None
        self.model.close()
        self._control.close()
        if self._slack is not None:
            self._slack.close()
        self._end_keeper(state.lab_id, Path(state.root), state.pid)

    @property
    def lab_id(self) -> str:
        """What tells this lab's processes from all others; see :func:`tests.lab.processes.lab_processes`."""
        return self._up_state.lab_id

    @property
    def keeper_pid(self) -> int:
        """The process that holds it, to which its orphans go."""
        return self._up_state.pid

    @property
    def root(self) -> Path:
        """The directory that holds everything of it."""
        return Path(self._up_state.root)

    @property
    def endpoints(self) -> Path:
        """A ``vm-endpoints.json`` of this lab."""
        return Path(self._up_state.endpoints)

    @property
    def inventory(self) -> Path:
        """An inventory source ``fleet.yml`` of this lab."""
        return Path(self._up_state.inventory)

    @property
    def slack(self) -> SlackWorkspace:
        """Its Slack workspace.

        Raises:
            LabError: it is without one.
        """
        if self._slack is None:
            raise LabError("the lab is not up, or without Slack: Lab(slack=True)")
        return self._slack

    @property
    def has_slack(self) -> bool:
        """Whether there is a :attr:`slack`."""
        return self._slack is not None

    @property
    def has_ssh(self) -> bool:
        """Whether the VMs that are not local have an sshd each: not where this machine has none."""
        return any(vm.ssh is not None for vm in self.vms.values())

    @property
    def ssh_files(self) -> SshFiles:
        """The keys with which they are reached, if :attr:`has_ssh`."""
        return SshFiles(self.root / "ssh")

    @property
    def env(self) -> dict[str, str]:
        """What to add to the environment of a child that uses this lab: a home of its own, no real Slack."""
        return self.env_with(self._slack)

    def env_with(self, slack: SlackWorkspace | None) -> dict[str, str]:
        """:attr:`env` with that workspace, maybe another lab's; with None Slack is off."""
        home = self.root / "controller"
        home.mkdir(exist_ok=True)
        runtime = self.root / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        # OpenSSH takes its own files from the home that the system knows, whatever HOME says.
        ssh = {"ANSIBLE_SSH_COMMON_ARGS": f"-F {self.ssh_files.config}"} if self.has_ssh else {}
        passwords = {password_variable(vm.name): vm.password for vm in self.vms.values() if vm.password}
        directories = {
            "XDG_CONFIG_HOME": ".config",
            "XDG_DATA_HOME": ".local/share",
            "XDG_STATE_HOME": ".local/state",
            "XDG_CACHE_HOME": ".cache",
        }
        return {
            "DX_VM_ENDPOINTS": str(self.endpoints),
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            **ssh,
            **{name: str(home / path) for name, path in directories.items()},
            **({"SLACK_AUDIT": "false"} if slack is None else slack.env),
            **passwords,
        }

    @property
    def _up_state(self) -> LabState:
        if self._state is None:
            raise LabError("the lab is not up")
        return self._state

    def _become(self, state: LabState) -> None:
        self._state = state
        self._control = httpx.Client(
            base_url=state.origin, timeout=_CONTROL_TIMEOUT_S, trust_env=False, verify=False
        )
        self.model = ScriptedModel(state.origin)
        self._slack = None if state.slack is None else SlackWorkspace(state.slack)
        self.vms = {vm.name: LabVM(vm, state.lab_id, Path(state.root), self._control) for vm in state.vms}

    def _end_keeper(self, lab_id: str, root: Path, pid: int | None = None) -> None:
        """Ask the keeper to end; if it does not, or is gone, do its work."""
        if self._keeper is not None:
            _end_own(self._keeper)
        elif pid is not None:
            _end_detached(pid, lab_id)
        kill_lab(lab_id, descendants=False)
        remove_tree(root)


def _new_root(wanted: Path | None, lab_id: str) -> Path:
    if wanted is None:
        root = Path(tempfile.mkdtemp(prefix="dx-lab-"))
    else:
        root = wanted
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            raise LabError(f"{root} is not empty")
    (root / _ID_FILE).write_text(f"{lab_id}\n")
    return root.resolve()


def _spawn_keeper(plan: LabPlan) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    # Without the coverage of the tests, if they are measured: nothing of the product runs in it.
    own = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    # A session of its own: a Ctrl-C at the terminal ends the lab through its parent, in order.
    with (Path(plan.root) / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.keeper"],
            cwd=CHECKOUT,
            env=own | {LAB_ID_VARIABLE: plan.lab_id, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    assert keeper.stdin is not None
    keeper.stdin.write(plan.to_json() + "\n")
    keeper.stdin.flush()
    return keeper


def _first_answer(keeper: subprocess.Popen[str], root: Path) -> LabState:
    assert keeper.stdout is not None
    with keeper.stdout:
        line = keeper.stdout.readline()
    if not line:
        log = (root / "keeper.log").read_text(errors="replace") if root.exists() else ""
        raise LabError(f"the lab's keeper ended early:\n{log[-2000:]}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise LabError(answer["error"])
    return LabState.from_dict(answer["state"])


def _end_own(keeper: subprocess.Popen[str]) -> None:
    keeper.terminate()
    if keeper.stdin is not None:
        keeper.stdin.close()
    try:
        keeper.wait(_DOWN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def _end_detached(pid: int, lab_id: str) -> None:
    keepers = [process for process in lab_processes(lab_id) if process.pid == pid]
    for keeper in keepers:
        keeper.terminate()
    psutil.wait_procs(keepers, timeout=_DOWN_TIMEOUT_S)
