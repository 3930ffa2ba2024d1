# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command dx-dispatch, from its arguments to its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..domain.errors import FleetError, UsageError
from ..domain.fleet import Fleet
from ..domain.outcome import ExitCode
from .commands.dispatch import OWN_FAULT, dispatch
from .commands.status import list_vms, reap, status
from .document import document, encoded
from .parser import Arguments, parse
from .terminal import printable

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: The words after its name.

    Returns:
        The exit code; see :class:`~..outcome.ExitCode`.
    """
    as_json = "--json" in argv
    try:
        return int(_command(parse(argv), argv))
    except UsageError as error:
        return _fail(error, as_json, ExitCode.USAGE)
    except FleetError as error:
        return _fail(error, as_json, ExitCode.of(error.state))
    except KeyboardInterrupt:  # while a playbook runs, it is dealt with where that is started
        return _fail(_Interrupted(), as_json, ExitCode.DETACHED)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter flushes it at its end
        return int(ExitCode.OWN_FAULT)
    except Exception as error:  # whatever it is, it is told as every other error is
        if "-vvv" in argv:
            raise
        return _fail(_OwnFault(error), as_json, ExitCode.OWN_FAULT)


class _OwnFault(FleetError):
    """This program, its playbook or Ansible failed."""

    def __init__(self, error: Exception) -> None:
        words = " ".join(str(error).split())[:300]
        super().__init__(
            f"our own fault: {words or type(error).__name__}",
            reason_code=OWN_FAULT,
            next_action="run the same command with -vvv, and with --id if a task was sent, and report it",
        )


class _Interrupted(FleetError):
    """A person pressed Ctrl-C before there was anything to detach from."""

    def __init__(self) -> None:
        super().__init__("interrupted before anything was sent", reason_code="interrupted")


def _command(arguments: Arguments, argv: Sequence[str]) -> ExitCode:
    if arguments.audit or arguments.flush_audit:
        from .commands.audit import flush_audit, show_audit

        return show_audit(arguments) if arguments.audit else flush_audit(arguments)
    fleet, inventory = _fleet(arguments)
    if arguments.list:
        return list_vms(fleet, arguments)
    if arguments.status:
        return status(fleet, inventory, arguments)
    if arguments.reap:
        return reap(fleet, inventory, arguments)
    return dispatch(fleet, inventory, arguments, argv)


def _fleet(arguments: Arguments) -> tuple[Fleet, Path]:
    """The fleet, and the inventory source from which Ansible makes the same one.

    Raises:
        ConfigError: There is none, or it is wrong.
    """
    from ..config.endpoints import endpoints_of, find_endpoints, load_fleet

    if arguments.inventory is not None:
        endpoints = endpoints_of(arguments.inventory, os.environ)
        return load_fleet(endpoints), arguments.inventory
    checkout = Path(__file__).parents[7] / "inventory" / "vm-endpoints.json"
    endpoints = find_endpoints(os.environ, checkout)
    return load_fleet(endpoints), endpoints


def _fail(error: FleetError, as_json: bool, code: ExitCode) -> int:
    if as_json:
        print(encoded(document(code, error=error)))
        return int(code)
    print(printable(f"dx-dispatch: {error.message} ({error.reason_code})", sys.stderr), file=sys.stderr)
    if error.next_action:
        print(printable(f"next: {error.next_action}", sys.stderr), file=sys.stderr)
    return int(code)
