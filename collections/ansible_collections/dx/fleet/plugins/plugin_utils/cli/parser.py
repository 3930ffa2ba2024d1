# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be typed after dx-dispatch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from ...module_utils.beads.ids import CHECK_IT, is_bead_id
from ..domain.errors import UsageError
from ..domain.fleet import Fleet
from ..domain.task import is_text
from ..text.shell import command_line

__all__ = ["Arguments", "Targets", "check_words", "parse", "targets_of"]

N = TypeVar("N", int, float)

EPILOG = """\
examples:
  dx-dispatch epyc6 affordabot "Run make test"           one VM, followed to its end
  dx-dispatch affordabot "Run make test"                 the default VM
  dx-dispatch --all affordabot "Run make test"           every enabled VM, in parallel
  dx-dispatch epyc6 affordabot "Continue work" --session ses_abc123
  dx-dispatch epyc6 affordabot "Run make test" --no-wait --json
  dx-dispatch epyc6 --id 01J9ZK3V4N8Q5W2X7Y6T1R0PMA      join that dispatch again
  dx-dispatch affordabot - <task.md                      the task from standard input
  dx-dispatch epyc6 affordabot --bead bd-a1b2            work on a bead; its text is the task
  dx-dispatch --bead bd-a1b2                             go on with it where another left off
  dx-dispatch --retry bd-a1b2                            work on a blocked bead once more
  dx-dispatch --status                                   what every VM is doing, and who holds which bead
  dx-dispatch --reap --dry-run                           which claims nobody works on

exit codes:
  0 done   1 our own fault   2 usage   3 failed, lost or mixed   4 refused   5 unreachable
  6 needs input   7 timed out or stalled   8 aborted   9 nothing changed   130 detached (the task goes on)
"""


@dataclass(frozen=True)
class Arguments:
    """The command line; see ``dx-dispatch --help``."""

    words: tuple[str, ...]
    all: bool
    id: str | None
    bead: str | None
    retry: str | None
    branch: str | None
    takeover: bool
    session: str | None
    agent: str | None
    model: str | None
    title: str | None
    timeout: float | None
    stall_timeout: float | None
    max_cost: float | None
    max_steps: int | None
    preflight_timeout: float | None
    no_wait: bool
    dry_run: bool
    slack: bool | None
    json: bool
    list: bool
    status: bool
    reap: bool
    ttl: float | None
    audit: bool
    flush_audit: bool
    inventory: Path | None
    verbose: int

    @property
    def any_bead(self) -> str | None:
        """The bead to work on, for the first time or again."""
        return self.bead if self.bead is not None else self.retry


@dataclass(frozen=True)
class Targets:
    """What the words mean: an Ansible host pattern, its VMs, and the request.

    ``named``: the VM was named, and is not only the default one.
    """

    pattern: str
    vms: tuple[str, ...]
    repo: str | None
    task: str | None
    named: bool = True


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, reason_code="usage", next_action="dx-dispatch --help")


def parse(argv: Sequence[str]) -> Arguments:
    """The arguments of a command line.

    Raises:
        UsageError: They can't be meant.
        SystemExit: After ``--help``.
    """
    # By hand: argparse of Python 3.11 takes options after -- too, where words and options are mixed.
    cut = argv.index("--") if "--" in argv else len(argv)
    options = vars(_parser().parse_intermixed_args(list(argv[:cut])))
    arguments = Arguments(**{**options, "words": (*options["words"], *argv[cut + 1 :])})
    _check(arguments)
    return arguments


def targets_of(arguments: Arguments, fleet: Fleet) -> Targets:
    """The VMs, repo and task that the words name.

    ``VM REPO TASK``, ``REPO TASK`` (default VM); with ``--id`` also ``VM`` or nothing; with ``--session``,
    which has a directory already, also ``VM TASK``; with a bead, whose text is the task, also ``VM REPO``,
    ``REPO``, ``VM`` or nothing.

    Raises:
        UsageError: They name an unknown VM, or something is missing.
    """
    words = list(arguments.words)
    named = True
    if arguments.all:
        if len(words) == 3:
            raise UsageError(
                f"both a VM ({words[0]!r}) and --all are given",
                reason_code="vm_and_all",
                next_action=f"leave out --all, or {words[0]!r}",
            )
        pattern, vms = "opencode", tuple(vm.name for vm in fleet.vms if vm.enabled)
        if not vms:
            raise UsageError(
                f"no VM in {fleet.source} is enabled", reason_code="no_vm", next_action="dx-dispatch --list"
            )
    else:
        given = len(words)
        vm = _vm(words, arguments, fleet)
        named = len(words) < given
        pattern, vms = vm, (vm,)
    repo, task = _repo_and_task(words, arguments)
    return Targets(pattern, vms, repo, task, named)


def _vm(words: list[str], arguments: Arguments, fleet: Fleet) -> str:
    """The VM's own name; takes its word away."""
    if len(words) == 3 or (len(words) == 1 and arguments.id is not None):
        return fleet.find(words.pop(0)).name
    if arguments.any_bead is not None and len(words) in (1, 2) and _answers(fleet, words[0]):
        return fleet.find(words.pop(0)).name
    if len(words) == 2 and _answers(fleet, words[0]):
        if arguments.session is not None:
            return fleet.find(words.pop(0)).name
        raise UsageError(
            f"{words[0]!r} is a VM, so the repo or the task is missing",
            reason_code="task_missing",
            next_action=command_line(["dx-dispatch", *words, "what to do"]),
        )
    return fleet.default().name


def _answers(fleet: Fleet, name: str) -> bool:
    try:
        fleet.find(name)
    except UsageError as error:
        return error.reason_code == "ambiguous_vm"
    return True


def _repo_and_task(words: list[str], arguments: Arguments) -> tuple[str | None, str | None]:
    if not words and (arguments.id is not None or arguments.any_bead is not None):
        return None, None
    if len(words) == 1 and arguments.any_bead is not None:
        return (None, words[0]) if arguments.session is not None else (_repo(words[0]), None)
    if len(words) == 1 and arguments.session is not None:
        return None, words[0]
    if len(words) > 2:
        raise UsageError(
            f"there are {len(words)} words where VM REPO TASK can stand; the task must be one of them",
            reason_code="too_many_words",
            next_action="quote the task: dx-dispatch VM REPO 'what to do'",
        )
    if len(words) != 2:
        raise UsageError(
            "the repo or the task is missing" if words else "there is nothing to do",
            reason_code="task_missing",
            next_action="dx-dispatch VM REPO 'what to do', or dx-dispatch --help",
        )
    return _repo(words[0]), words[1]


def _repo(word: str) -> str:
    if not word.strip():
        raise UsageError("the repo is empty", reason_code="repo_missing", next_action="name a repo")
    return word


def check_words(words: Sequence[str]) -> None:
    """Raises UsageError for a word that is no text, and so no name of anything."""
    for word in words:
        if not is_text(word):
            raise UsageError(
                f"{word[:40]!a} is not valid text",
                reason_code="bad_text",
                next_action="pass it as UTF-8, without NUL",
            )


def _check(arguments: Arguments) -> None:
    chosen = {
        "--list": arguments.list,
        "--status": arguments.status,
        "--reap": arguments.reap,
        "--audit": arguments.audit,
        "--flush-audit": arguments.flush_audit,
    }
    modes = [name for name, is_chosen in chosen.items() if is_chosen]
    if len(modes) > 1:
        raise UsageError(
            f"{' and '.join(modes)} don't go together", reason_code="usage", next_action="choose one"
        )
    of_a_task = (arguments.id, arguments.session, arguments.any_bead)
    most_words = 1 if arguments.status or arguments.audit else 0
    if modes and (any(of_a_task) or len(arguments.words) > most_words):
        raise UsageError(
            f"{modes[0]} takes no task", reason_code="usage", next_action=f"dx-dispatch {modes[0]}"
        )
    _check_bead(arguments)
    if arguments.all and arguments.session:
        raise UsageError(
            "--session belongs to one VM and can't go with --all",
            reason_code="session_and_all",
            next_action="name the VM of the session",
        )


def _check_bead(arguments: Arguments) -> None:
    if arguments.bead is not None and arguments.retry is not None:
        raise UsageError(
            "--bead and --retry don't go together", reason_code="usage", next_action="choose one"
        )
    bead = arguments.any_bead
    if bead is None:
        if arguments.takeover or arguments.branch is not None:
            raise UsageError(
                "--takeover and --branch belong to a bead", reason_code="usage", next_action="add --bead BEAD"
            )
        return
    if not is_bead_id(bead):
        raise UsageError(
            f"{bead[:80]!a} is not a full bead id such as bd-a1b2",
            reason_code="bad_bead",
            next_action=CHECK_IT,
        )
    if arguments.all:
        raise UsageError(
            "a bead is worked on by one VM, so it can't go with --all",
            reason_code="bead_and_all",
            next_action=f"name the VM: dx-dispatch VM REPO --bead {bead}",
        )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dx-dispatch",
        usage="dx-dispatch [VM] REPO TASK [options] | --all REPO TASK | [VM] [REPO] --bead BEAD |"
        " --status [VM] | --list | --reap",
        description="Hand a coding task to the OpenCode server of a VM and follow it to its end.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "words",
        nargs="*",
        metavar="VM REPO TASK",
        help="VM (default: default_vm of the file), repo name, task; - reads the task from standard input",
    )
    add("--all", action="store_true", help="dispatch to every enabled VM in parallel")
    add("--session", metavar="SES", help="continue this OpenCode session instead of a new one")
    add(
        "--id",
        metavar="ID",
        help="name of the dispatch; the same id again joins or reports it, and sends nothing twice",
    )
    add(
        "--bead",
        metavar="BEAD",
        help="claim this bead and work on it, or go on with what a dispatcher that is gone began;"
        " without a task its title and description are the task",
    )
    add("--retry", metavar="BEAD", help="work once more on a bead that was blocked by a dispatch")
    add("--branch", metavar="NAME", help="git branch of the work, for the bead")
    add(
        "--takeover",
        action="store_true",
        help="go on although another orchestrator is at work and the fleet allows one",
    )
    add("--agent", metavar="NAME", help="OpenCode agent, such as build or plan")
    add("--model", metavar="PROVIDER/MODEL", help="model for the task")
    add("--title", metavar="TEXT", help="title of the session (default: the task, shortened)")
    add("--no-wait", action="store_true", help="return as soon as the task is sent")
    add(
        "--timeout",
        type=_seconds,
        metavar="S",
        help="stop the task after so many seconds (default 3600; 0: never)",
    )
    add(
        "--stall-timeout",
        type=_seconds,
        metavar="S",
        help="stop it when nothing moves for so long (default 600; 0: never)",
    )
    add("--max-cost", type=_amount, metavar="USD", help="stop it above this cost (0: above nothing)")
    add(
        "--max-steps",
        type=_count,
        metavar="N",
        help="stop it above so many steps of the agent (default 300; 0: never)",
    )
    add(
        "--preflight-timeout",
        type=_seconds,
        metavar="S",
        help="give up a VM that stays silent for so long before anything is sent (default 20)",
    )
    add("--dry-run", action="store_true", help="look at everything, send nothing")
    add("--slack", action=argparse.BooleanOptionalAction, default=None, help="tell the dispatch in Slack")
    add("--json", action="store_true", help="print one JSON document and nothing else on standard output")
    add("--list", action="store_true", help="list the VMs and what they answer to")
    add("--status", action="store_true", help="ask every VM (or one) what it is doing")
    add("--reap", action="store_true", help="end the claims that nobody works on; --dry-run lists them")
    add(
        "--ttl",
        type=_seconds,
        metavar="S",
        help="with --reap, leave claims alone that are younger than so many seconds (default 3600)",
    )
    add(
        "--audit",
        action="store_true",
        help="show what was recorded for Slack (of the dispatch or bead named after it), and if it is told",
    )
    add("--flush-audit", action="store_true", help="tell in Slack now what is not told yet")
    add(
        "-i",
        "--inventory",
        type=Path,
        metavar="FILE",
        help="vm-endpoints file or inventory (default: $DX_VM_ENDPOINTS,"
        " else ~/.agent-skills/vm-endpoints.json)",
    )
    add("-v", "--verbose", action="count", default=0, help="Ansible's verbosity")
    return parser


def _seconds(text: str) -> float:
    return _number(text, float, "seconds")


def _amount(text: str) -> float:
    return _number(text, float, "an amount")


def _count(text: str) -> int:
    return _number(text, int, "a number")


def _number(text: str, kind: type[N], what: str) -> N:
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}, 0 or more")
    return value
