# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vm-endpoints file: where it is, what may stand in it, and the fleet that it describes."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from ..domain.answer_policy import AnswerPolicy, Rule
from ..domain.errors import ConfigError, UsageError
from ..domain.fleet import GROUPS, VM, Fleet, RepoPolicy
from ..domain.task import shortened
from ..text.urls import check_url, is_loopback

__all__ = ["EndpointsFile", "endpoints_of", "find_endpoints", "load_fleet", "parse_fleet"]

ENVIRONMENT = "DX_VM_ENDPOINTS"
HOME_RELATIVE = Path(".agent-skills", "vm-endpoints.json")

_TAKEN = frozenset((*GROUPS, "all", "ungrouped", "localhost"))
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def _check_host(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("is not a host name: letters, digits, dots and dashes")
    return name


def _check_name(name: str) -> str:
    if name in _TAKEN:
        raise ValueError("is the name of an inventory group, which would mean other VMs as well")
    return _check_host(name)


def _check_directory(directory: str) -> str:
    if not directory.startswith(("/", "~/")) or "\0" in directory:
        raise ValueError("must be absolute, or begin with ~/ for the server's home")
    return directory.rstrip("/") or "/"


def _check_report(report: str) -> str:
    if report.startswith(("/", "~")) or ".." in report.split("/") or "\0" in report:
        raise ValueError("must be a path or glob inside the repo, such as build/junit*.xml")
    return report


def _check_ref(ref: str) -> str:
    # What `git check-ref-format` refuses of a branch, a tag, a commit; and what git takes for an option.
    if not re.fullmatch(r"[^-\s~^:?*\[\\\x00-\x1f\x7f][^\s~^:?*\[\\\x00-\x1f\x7f]*", ref) or ".." in ref:
        raise ValueError("is not a git ref, such as origin/main")
    return ref


def _described(pattern: str) -> WithJsonSchema:
    """What the JSON Schema of the file can say of a check."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


Url = Annotated[str, AfterValidator(check_url), _described("^[Hh][Tt][Tt][Pp][Ss]?://[^/]")]
Host = Annotated[str, AfterValidator(_check_host), _described(f"^{_NAME.pattern}$")]
Name = Annotated[str, AfterValidator(_check_name), _described(f"^{_NAME.pattern}$")]
Directory = Annotated[str, AfterValidator(_check_directory), _described("^(/|~/)")]
Text = Annotated[str, StringConstraints(min_length=1)]
Report = Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_report), _described("^[^/~]")]
Ref = Annotated[str, AfterValidator(_check_ref), _described(r"^[^-\s~^:?*\[\\][^\s~^:?*\[\\]*$")]
SlackUser = Annotated[str, StringConstraints(pattern=r"^[UW][A-Z0-9]{2,}$")]
SlackVerb = Literal["stop", "answer", "retry", "dispatch", "status", "*"]
SlackVerbs = Annotated[tuple[SlackVerb, ...], Field(strict=False)]
Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Days = Annotated[float, Field(ge=0, le=36500, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class VMEntry(_Strict):
    """One VM: where its OpenCode server answers, and how a person reaches the machine."""

    opencode: Url = Field(description="Base URL of the VM's OpenCode server.", examples=["http://epyc6:4105"])
    ssh: Optional[Text] = Field(None, description="[user@]host[:port] for SSH; null for this machine.")
    transport: Literal["auto", "http", "ssh"] = Field(
        "auto",
        description="How the server is reached: http directly, ssh through the SSH connection to the VM,"
        " auto through SSH where the server's port is not reachable.",
    )
    tailscale: Optional[Host] = Field(None, description="The machine's Tailscale name.")
    local: bool = Field(
        False,
        description="True for the machine that this file lies on. The files of a VM that is neither that nor"
        " has ssh are out of reach: no worktrees, and no check of the work.",
    )
    aliases: tuple[Name, ...] = Field((), strict=False, description="Further names that the VM answers to.")
    enabled: bool = Field(True, description="False keeps the VM in the fleet but refuses dispatches to it.")
    max_concurrent: Optional[Annotated[int, Field(ge=1)]] = Field(
        None, description="How many sessions may work on the VM at the same time."
    )
    repos: dict[Text, Directory] = Field({}, description="Directory on the VM of each repo, by repo name.")
    repos_root: Optional[Directory] = Field(
        None, description="Directory on the VM in which each repo not in repos has a folder of its name."
    )
    worktrees_root: Optional[Directory] = Field(
        None, description="Directory on the VM for the worktrees of dispatches; it may not lie in a clone."
    )
    password_env: Optional[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]] = Field(
        None, description="Environment variable of the controller that holds the server's password."
    )
    description: Optional[str] = Field(None, description="For people.")


class RepoEntry(_Strict):
    """How the work in one repo is isolated, verified and ended, on every VM."""

    verify: Optional[Text] = Field(
        None, description="Shell command that decides whether the work is good.", examples=["make test"]
    )
    report: Optional[Report] = Field(
        None, description="Path or glob, inside the repo, of the JUnit XML that verify writes."
    )
    verify_timeout: Seconds = Field(1800.0, description="How many seconds verify may run.")
    base: Optional[Ref] = Field(
        None, description="Git ref from which a new branch begins; null for the remote's default branch."
    )
    worktree: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether a dispatch works in a worktree of its own; auto: with a bead or a branch.",
    )
    push: bool = Field(False, description="True pushes the branch after the work was verified.")
    close_on: Literal["verified", "completed"] = Field(
        "verified", description="Which outcome closes the bead; completed needs no verification."
    )
    counts: Literal["required", "none"] = Field(
        "required", description="Whether verify must count tests; none accepts its exit code alone."
    )
    keep_worktrees: Days = Field(
        14.0,
        description="How many days after its last use dx-fleet reap leaves the worktree of a dispatch that"
        " ended.",
    )


class AnswerRule(_Strict):
    """A permission that is granted, or rejected, without asking anybody."""

    action: Literal["allow", "deny"] = Field(description="What the rule says; deny goes before allow.")
    permission: Text = Field(
        description="The kind of permission as OpenCode reports it; * stands for any text.",
        examples=["bash", "external_directory"],
    )
    pattern: Text = Field(
        "*",
        description="What it is wanted for; * stands for any text, ? for one character.",
        examples=["make *"],
    )


class EndpointsFile(_Strict):
    """The fleet's machines (vm-endpoints.json)."""

    schema_: Optional[str] = Field(None, alias="$schema", description="URL or path of this schema.")
    vms: dict[Name, VMEntry] = Field(min_length=1, description="The VMs by name.")
    repos: dict[Text, RepoEntry] = Field({}, description="What holds for a repo on every VM, by repo name.")
    default_vm: Optional[str] = Field(None, description="The VM that gets a dispatch which names none.")
    slack_audit_channel: Optional[Text] = Field(
        None, description="ID of the Slack channel in which dispatches are posted."
    )
    tracker: Optional[Text] = Field(
        None, description="The VM on which every call of bd runs; null for the controller."
    )
    beads_dir: Optional[Directory] = Field(
        None, description="The folder on the tracker host that holds .beads."
    )
    slack_users: dict[SlackUser, SlackVerbs] = Field(
        {},
        description="What each Slack user, by id, may ask for in the channel; without an entry, nothing.",
        examples=[{"U0123ABCD": ["stop", "answer", "status"]}, {"U0123ABCD": ["*"]}],
    )
    answer_policy: tuple[AnswerRule, ...] = Field(
        (),
        strict=False,
        description="Which permissions are answered by whoever follows a dispatch, without asking a person.",
        examples=[[{"action": "allow", "permission": "bash", "pattern": "make *"}]],
    )
    single_orchestrator: bool = Field(
        False, description="True refuses a bead while sessions of another orchestrator's claims work."
    )


def find_endpoints(environ: Mapping[str, str], fallback: Path | None = None) -> Path:
    """The endpoints file to read: ``$DX_VM_ENDPOINTS``, else ``~/.agent-skills/vm-endpoints.json``, else
    the fallback.

    Args:
        environ: The environment; ``HOME`` is looked up in it.
        fallback: The inventory's own file, if there is one.

    Raises:
        ConfigError: ``endpoints_missing``, or ``endpoints_unreadable`` for a name that Ansible would take
            for something else.
    """
    if named := environ.get(ENVIRONMENT):
        if not named.endswith(".json") or "," in named:
            raise ConfigError(
                f"{ENVIRONMENT}={named}: the file's name must end with .json and have no comma",
                reason_code="endpoints_unreadable",
                next_action=f"rename the file, or set {ENVIRONMENT} to the one that you mean",
            )
        return Path(os.path.expanduser(named))
    home = Path(environ.get("HOME") or os.path.expanduser("~"), HOME_RELATIVE)
    if home.exists():
        return home
    if fallback is not None and fallback.exists():
        return fallback
    raise ConfigError(
        f"no fleet is configured: neither ${ENVIRONMENT} nor {home} names a vm-endpoints file",
        reason_code="endpoints_missing",
        next_action=f"write {home}, for one VM: "
        '{"vms": {"epyc6": {"opencode": "http://epyc6:4105", "ssh": "you@epyc6"}}, "default_vm": "epyc6"}',
    )


def endpoints_of(source: Path, environ: Mapping[str, str]) -> Path:
    """The endpoints file of an inventory source: itself, or what its ``endpoints`` names.

    Raises:
        ConfigError: ``inventory_unreadable``, or see :func:`find_endpoints`.
    """
    if source.suffix == ".json":
        return source
    import yaml

    try:
        data = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{source}: {shortened(str(error), 200)}",
            reason_code="inventory_unreadable",
            next_action="name a vm-endpoints file, or an inventory of the plugin dx.fleet.vm_endpoints",
        ) from error
    named = data.get("endpoints") if isinstance(data, dict) else None
    if isinstance(named, str) and named:
        return source.parent / os.path.expanduser(named)
    return find_endpoints(environ, source.parent / "vm-endpoints.json")


def load_fleet(path: Path, *, hostnames: Iterable[str] | None = None) -> Fleet:
    """Read an endpoints file.

    Args:
        path: The file.
        hostnames: Names of this machine, which its local VM answers to; default: as the system says.

    Raises:
        ConfigError: ``endpoints_missing`` (no such file), ``endpoints_unreadable``,
            ``endpoints_malformed`` (not JSON: with line and column), ``endpoints_invalid`` (with the JSON
            path).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file",
            reason_code="endpoints_missing",
            next_action=f"write it, or set {ENVIRONMENT} to the file that you mean",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not UTF-8 at byte {error.start}",
            reason_code="endpoints_malformed",
            next_action=f"save {path} as UTF-8",
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ConfigError(
            f"{path}: {getattr(error, 'strerror', None) or error}",
            reason_code="endpoints_unreadable",
            next_action=f"make {path} a file that you can read",
        ) from error
    return parse_fleet(text, source=str(path), hostnames=hostnames)


def parse_fleet(text: str, *, source: str, hostnames: Iterable[str] | None = None) -> Fleet:
    """The fleet that the text of an endpoints file describes; see :func:`load_fleet`.

    Raises:
        ConfigError: ``endpoints_malformed`` or ``endpoints_invalid``.
    """
    entries = _validated(text, source)
    names = _own_names() if hostnames is None else tuple(hostnames)
    fleet = Fleet(
        vms=tuple(_vm(name, entry, names) for name, entry in entries.vms.items()),
        default_vm=entries.default_vm,
        slack_audit_channel=entries.slack_audit_channel,
        tracker=entries.tracker,
        beads_dir=entries.beads_dir,
        slack_users=entries.slack_users,
        single_orchestrator=entries.single_orchestrator,
        answer_policy=AnswerPolicy(
            tuple(Rule(each.action, each.permission, each.pattern) for each in entries.answer_policy)
        ),
        repos={name: _policy(entry) for name, entry in entries.repos.items()},
        source=source,
    )
    _check_fleet(fleet)
    return fleet


def _validated(text: str, source: str) -> EndpointsFile:
    try:
        data = json.loads(text, object_pairs_hook=_object_without_twins)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{source}:{error.lineno}:{error.colno}: not JSON: {error.msg}",
            reason_code="endpoints_malformed",
            next_action=f"mend line {error.lineno} of {source}",
        ) from error
    except (ValueError, RecursionError) as error:  # twin keys, a number of 5000 digits, too deep
        raise _invalid(source, "$", shortened(str(error), 200)) from error
    _check_text(data, source)
    try:
        return EndpointsFile.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = _json_path(first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        own = first.get("ctx", {}).get("error")  # what a validator of ours raised
        raise _invalid(source, where, f"{own if own is not None else first['msg']}{more}") from error


def _check_text(data: Any, source: str) -> None:
    try:
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError) as error:
        raise _invalid(source, "$", "a string in it is not valid text, or it is nested too deeply") from error


class _TwinKeys(ValueError):
    """An object names a key twice, of which JSON parsers silently drop one."""


def _object_without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise _TwinKeys(f"the key {twin!r} stands twice in one object")
    return found


def _json_path(location: tuple[int | str, ...]) -> str:
    parts = ["$"]
    for part in location:
        if part == "[key]":
            continue
        is_plain = isinstance(part, str) and re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_]*", part)
        parts.append(f".{part}" if is_plain else f"[{json.dumps(part)}]")
    return "".join(parts)


def _invalid(source: str, where: str, what: str) -> ConfigError:
    return ConfigError(
        f"{source}: {where}: {what}",
        reason_code="endpoints_invalid",
        next_action=f"mend {where} in {source}",
    )


def _own_names() -> tuple[str, ...]:
    name = socket.gethostname()
    return (name, name.partition(".")[0])


def _policy(entry: RepoEntry) -> RepoPolicy:
    return RepoPolicy(
        verify=entry.verify,
        report=entry.report,
        verify_timeout_s=entry.verify_timeout,
        base=entry.base,
        worktree=entry.worktree,
        push=entry.push,
        close_on=entry.close_on,
        counts=entry.counts,
        keep_worktrees=entry.keep_worktrees,
    )


def _vm(name: str, entry: VMEntry, own_names: tuple[str, ...]) -> VM:
    user, host, port = _ssh_parts(entry.ssh)
    found = [host or ""]
    if entry.tailscale:
        found += [entry.tailscale, entry.tailscale.partition(".")[0]]
    if entry.local:
        found += own_names
    # An SSH host may be more than a host name (an IPv6 address).
    candidates = [
        *entry.aliases,
        *(alias for alias in found if alias not in _TAKEN and _NAME.fullmatch(alias)),
    ]
    return VM(
        name=name,
        url=entry.opencode,
        aliases=tuple(dict.fromkeys(alias for alias in candidates if alias and alias != name)),
        local=entry.local,
        ssh_host=host,
        ssh_user=user,
        ssh_port=port,
        transport=entry.transport,
        enabled=entry.enabled,
        max_concurrent=entry.max_concurrent,
        repos=dict(entry.repos),
        repos_root=entry.repos_root,
        worktrees_root=entry.worktrees_root,
        password_env=entry.password_env,
        description=entry.description,
    )


def _ssh_parts(destination: str | None) -> tuple[str | None, str | None, int | None]:
    """User, host and port of ``[user@]host[:port]``; an IPv6 address with a port is in brackets."""
    user, _, rest = (destination or "").rpartition("@")
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?", rest)
    plain = re.fullmatch(r"([^:]+):(\d{1,5})", rest)
    found = bracketed or plain
    host, port = (found[1], found[2]) if found else (rest, None)
    return user or None, host or None, int(port) if port else None


def _check_fleet(fleet: Fleet) -> None:
    """What no single field shows: names that clash, and two VMs that are one server."""
    servers: dict[tuple[str, str | None], str] = {}
    names: dict[str, str] = {}
    for vm in fleet.vms:
        where = _json_path(("vms", vm.name))
        if (twin := names.setdefault(vm.name.casefold(), vm.name)) != vm.name:
            raise _invalid(fleet.source, where, f"differs from {twin!r} only in upper and lower case")
        if (other := servers.setdefault(_server(vm), vm.name)) != vm.name:
            raise _invalid(fleet.source, f"{where}.opencode", f"is the server of {other} as well: {vm.url}")
        if vm.ssh_host is not None and vm.ssh_host.startswith("-"):
            raise _invalid(fleet.source, f"{where}.ssh", "the host must not begin with a dash")
        if vm.ssh_user is not None and vm.ssh_user.startswith("-"):
            raise _invalid(fleet.source, f"{where}.ssh", "the user must not begin with a dash")
        if vm.ssh_port is not None and not 0 < vm.ssh_port < 65536:
            raise _invalid(fleet.source, f"{where}.ssh", f"there is no port {vm.ssh_port}")
        if vm.transport == "ssh" and (vm.local or vm.ssh_host is None):
            raise _invalid(fleet.source, f"{where}.transport", "ssh needs the ssh of a VM that is not local")
    for key, name in (("default_vm", fleet.default_vm), ("tracker", fleet.tracker)):
        try:
            if name is not None:
                fleet.find(name)
        except UsageError as error:
            raise _invalid(fleet.source, f"$.{key}", str(error)) from error


def _server(vm: VM) -> tuple[str, str | None]:
    """What makes two VMs one server: the URL and, where that is each VM's own loopback, the SSH host."""
    is_own = vm.transport != "http" and not vm.local and vm.ssh_host is not None and is_loopback(vm.url)
    return vm.url.casefold(), vm.ssh_host if is_own else None
