# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet under test: what dispatches to it, and what its servers themselves say of the result."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from tests.command import Completed, Running, run_ansible, run_dispatch, run_fleet, start_dispatch
from tests.lab import Lab

__all__ = ["Fleet", "Server", "fresh_id", "read_fleet", "stop_all_work"]


class Server:
    """One VM's OpenCode server as its own REST interface shows it, without any code of the product.

    ``aliases`` are those that no other VM has.
    """

    def __init__(
        self, name: str, url: str, aliases: Sequence[str] = (), auth: tuple[str, str] | None = None
    ) -> None:
        self.name = name
        self.url = url
        self.aliases = tuple(aliases)
        self._auth = httpx.BasicAuth(*auth) if auth else None
        self.password = auth[1] if auth else None

    def __repr__(self) -> str:
        return f"Server({self.name!r}, {self.url!r})"

    def ask(self, method: str, path: str, body: object = None, **params: str) -> httpx.Response:
        """One request, whatever becomes of it."""
        return httpx.request(
            method,
            self.url + path,
            params=params,
            json=body,
            auth=self._auth,
            timeout=90,
            trust_env=False,
            verify=self.url.startswith("https:"),  # else the certificates are read for nothing, in 17 ms
        )

    def get(self, path: str, **params: str) -> Any:
        """The JSON of a GET that succeeds."""
        return self.ask("GET", path, **params).raise_for_status().json()

    def has(self, session: str) -> bool:
        """Whether it knows a session."""
        return self.ask("GET", f"/session/{session}").status_code == 200

    def sessions(self) -> set[str]:
        """All sessions that it knows."""
        return {session["id"] for session in self.get("/experimental/session", limit="1000")}

    def session(self, session: str) -> dict[str, Any]:
        """A session's own record."""
        found: dict[str, Any] = self.get(f"/session/{session}")
        return found

    def messages(self, session: str) -> list[dict[str, Any]]:
        """All messages of a session, oldest first."""
        found: list[dict[str, Any]] = self.get(f"/session/{session}/message")
        return found

    def prompts(self, session: str) -> list[list[str]]:
        """The texts of each user message of a session: a prompt that came twice has its text twice."""
        return [
            [
                part["text"]
                for part in message["parts"]
                if part["type"] == "text" and not part.get("synthetic")
            ]
            for message in self.messages(session)
            if message["info"]["role"] == "user"
        ]

    def has_answered(self, session: str) -> bool:
        """Whether its last message is an answer, and it is idle."""
        *_, last = [{}, *(message["info"] for message in self.messages(session))]
        return last.get("role") == "assistant" and not self.works_on(session)

    def works_on(self, session: str) -> bool:
        """Whether a session is not idle."""
        return session in self.get("/session/status", directory=self.session(session)["directory"])

    def pending(self, kind: str, session: str) -> list[dict[str, Any]]:
        """A session's pending requests of a kind, ``permission`` or ``question``."""
        found = self.get(f"/{kind}", directory=self.session(session)["directory"])
        return [request for request in found if request["sessionID"] == session]


@dataclass(frozen=True)
class Fleet:
    """A fleet, and the commands with the environment in which they see it.

    ``repo`` is one that every VM has. ``arguments`` come before those of each command.
    """

    servers: Mapping[str, Server]
    default: str
    env: Mapping[str, str]
    inventory: Path
    repo: str = "affordabot"
    arguments: tuple[str, ...] = ()
    _started: list[Running] = field(default_factory=list)

    def __getitem__(self, vm: str) -> Server:
        return self.servers[vm]

    def dispatch(self, *arguments: str, stdin: str | None = None) -> Completed:
        """Run ``dx-dispatch ... --json``."""
        return self.command("--json", *arguments, stdin=stdin)

    def command(self, *arguments: str, stdin: str | None = None) -> Completed:
        """Run ``dx-dispatch``."""
        return run_dispatch(*self.arguments, *arguments, env=self.env, stdin=stdin)

    def look(self, *arguments: str) -> Completed:
        """Run ``dx-fleet ... --json``."""
        return self.look_plainly("--json", *arguments)

    def look_plainly(self, *arguments: str) -> Completed:
        """Run ``dx-fleet``."""
        return run_fleet(*self.arguments, *arguments, env=self.env)

    def start(self, *arguments: str, typing: bool = False) -> Running:
        """Start ``dx-dispatch``; it is killed at the end of the test if it still runs."""
        running = start_dispatch(*self.arguments, *arguments, env=self.env, typing=typing)
        self._started.append(running)
        return running

    def kill_started(self) -> None:
        """End every command that was started and not waited for."""
        while self._started:
            self._started.pop().kill()

    def playbook(self, playbook: str, *arguments: str, **variables: object) -> Completed:
        """Run ``ansible-playbook`` with extra variables."""
        extra = ("-e", json.dumps(variables)) if variables else ()
        words = ("-i", str(self.inventory), playbook, *extra, *arguments)
        return run_ansible("ansible-playbook", *words, env=self.env)

    def seen_at(self, directory: Path, **urls: str) -> Fleet:
        """The same fleet for a person whose endpoints file, written here, has other URLs for some VMs."""
        return self.described_as(directory, **{vm: {"opencode": url} for vm, url in urls.items()})

    def described_as(self, directory: Path, **changes: Mapping[str, object]) -> Fleet:
        """The same fleet for a person whose endpoints file, written here, says something else of some VMs."""
        document = json.loads(Path(self.env["DX_VM_ENDPOINTS"]).read_text())
        for vm, change in changes.items():
            document["vms"][vm] = {**document["vms"].get(vm, {}), **change}
        path = directory / "vm-endpoints.json"
        path.write_text(json.dumps(document))
        return replace(self, env={**self.env, "DX_VM_ENDPOINTS": str(path)}, inventory=path)

    def with_policy(self, directory: Path, **policy: object) -> Fleet:
        """The same fleet for a person whose endpoints file, written here, says that of affordabot."""
        return self.with_top_level(directory, repos={"affordabot": policy})

    def with_top_level(self, directory: Path, **entries: object) -> Fleet:
        """The same fleet for a person whose endpoints file, written here, has these entries of its own."""
        document = json.loads(Path(self.env["DX_VM_ENDPOINTS"]).read_text())
        document.update(entries)
        path = directory / "vm-endpoints.json"
        path.write_text(json.dumps(document))
        return replace(self, env={**self.env, "DX_VM_ENDPOINTS": str(path)}, inventory=path)


def read_fleet(inventory: Path, env: Mapping[str, str], **options: Any) -> Fleet:
    """The fleet that an inventory source describes."""
    done = run_ansible("ansible-inventory", "-i", str(inventory), "--list", env=env)
    assert done.code == 0, done.err
    found = done.document()
    variables = {vm: found["_meta"]["hostvars"][vm] for vm in found["opencode"]["hosts"]}
    named = [alias for of_vm in variables.values() for alias in of_vm.get("opencode_aliases", ())]
    servers = {
        vm: Server(
            vm,
            of_vm["opencode_url"],
            [alias for alias in of_vm.get("opencode_aliases", ()) if named.count(alias) == 1],
            _auth(of_vm, env),
        )
        for vm, of_vm in variables.items()
    }
    (default,) = found["default_vm"]["hosts"]
    return Fleet(servers, default, env, inventory, **options)


def _auth(variables: Mapping[str, Any], env: Mapping[str, str]) -> tuple[str, str] | None:
    name = variables.get("opencode_password_env")
    password = {**os.environ, **env}.get(name) if name else None
    return (variables.get("opencode_username", "opencode"), password) if password else None


def fresh_id() -> str:
    """A dispatch id that no server has seen."""
    return f"test-{secrets.token_hex(6)}"


def stop_all_work(lab: Lab, fleet: Fleet) -> None:
    """Every session in a clone of affordabot that still works is stopped."""
    for vm, server in fleet.servers.items():
        directory = str(lab.vms[vm].repo("affordabot"))
        for session in server.get("/session/status", directory=directory):
            server.ask("POST", f"/session/{session}/abort")
