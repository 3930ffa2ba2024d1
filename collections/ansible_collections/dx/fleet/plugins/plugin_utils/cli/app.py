# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs dx-dispatch and dx-fleet, from their words to their exit code."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from ..domain.errors import FleetError, UsageError
from ..domain.outcome import ExitCode
from .command import Command
from .command_names import DISPATCH, FLEET, command_called, command_names
from .options import Options, takes_a_value
from .parser import check_words, did_you_mean, fill, parse, plain_parser, split_at_dashes
from .report import OWN_FAULT, Report, show, show_error

__all__ = ["completed", "run_dispatch", "run_fleet"]

ABOUT = "See and look after the fleet of VMs to which dx-dispatch hands tasks."


def run_dispatch(argv: Sequence[str]) -> int:
    """Run dx-dispatch.

    Args:
        argv: The words after its name.

    Returns:
        The exit code; see :class:`~..domain.outcome.ExitCode`.
    """
    return _run(DISPATCH, argv, lambda: _do(command_called("dispatch"), DISPATCH, argv))


def run_fleet(argv: Sequence[str]) -> int:
    """Run dx-fleet; see :func:`run_dispatch`."""
    return _run(FLEET, argv, lambda: _fleet_command(argv))


def _run(program: str, argv: Sequence[str], do: Callable[[], int]) -> int:
    as_json = "--json" in split_at_dashes(argv)[0]
    try:
        return do()
    except UsageError as error:
        return show_error(error, as_json, ExitCode.USAGE, program)
    except FleetError as error:
        return show_error(error, as_json, ExitCode.of(error.state), program)
    except KeyboardInterrupt:  # while a playbook runs, it is dealt with where that is started
        return show_error(_Interrupted(), as_json, ExitCode.DETACHED, program)
    except Exception as error:  # whatever it is, it is shown as every other error is
        if "-vvv" in argv:
            raise
        return show_error(_OwnFault(error), as_json, ExitCode.OWN_FAULT, program)


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


def _do(command: Command[Any], prog: str, argv: Sequence[str]) -> int:
    usage = " ".join(filter(None, (prog, command.usage, "[options]")))
    options = parse(command.options, prog, argv, usage, command.examples)
    check_words(argv)
    report: Report = command.run(options)
    return show(report, options.json)


def _fleet_command(argv: Sequence[str]) -> int:
    """Options that every command has may also stand before its name."""
    names = command_names()
    at = _command_at(argv)
    if at is None:
        fill(_fleet_parser(), Options).parse_args(argv)
        raise UsageError(
            f"a command is missing: {', '.join(names)}",
            reason_code="command_missing",
            next_action=f"{FLEET} --help",
        )
    if (word := argv[at]) not in names:
        like = did_you_mean(word, names, lambda name: f"{FLEET} {name}")
        raise UsageError(
            f"there is no command {word!r}{like or ': ' + ', '.join(names)}",
            reason_code="unknown_command",
            next_action=f"{FLEET} --help",
        )
    return _do(command_called(word), f"{FLEET} {word}", [*argv[:at], *argv[at + 1 :]])


def _command_at(argv: Sequence[str]) -> int | None:
    """Where the first word stands that is neither an option nor the value of one."""
    after = ""
    for at, word in enumerate(argv):
        if not word.startswith("-") and not takes_a_value(Options, after):
            return at
        after = word
    return None


def _fleet_parser() -> argparse.ArgumentParser:
    names = command_names()
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {command_called(name).summary}" for name in names]
    told = "\n".join(["commands:", *lines, "", f"{FLEET} COMMAND --help tells more of one."])
    return plain_parser(FLEET, f"{FLEET} COMMAND [options]", ABOUT, told)


def completed(program: str) -> argparse.ArgumentParser:
    """The whole parser of a program, from which argcomplete completes a line in a shell."""
    if program == DISPATCH:
        return fill(plain_parser(DISPATCH, DISPATCH, ""), command_called("dispatch").options)
    parser = _fleet_parser()
    commands = parser.add_subparsers()
    for name in command_names():
        fill(commands.add_parser(name), command_called(name).options)
    return parser
