# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules do on their host, by their names and apart from Ansible: options in, result out."""

from __future__ import annotations

import importlib
import typing as t

from .specs import GIT_WORKTREE, GIT_WORKTREE_INFO, VERIFY_WORK, WORK_PROCESSES, Spec, complete

__all__ = ["COMMANDS", "Command", "function_of", "result_of"]


class Command(t.NamedTuple):
    """What a module calls: a function in a file of this folder.

    ``rooms`` are the folders with all that it imports, but for what stands in this folder itself.
    """

    file: str
    function: str
    spec: Spec
    rooms: tuple[str, ...]


COMMANDS: t.Mapping[str, Command] = {
    "git_worktree": Command("git.commands", "worktree", GIT_WORKTREE, ("git", "work_processes")),
    "git_worktree_info": Command("git.listing", "listed", GIT_WORKTREE_INFO, ("git", "work_processes")),
    "verify_work": Command("verify.commands", "verify", VERIFY_WORK, ("verify", "git", "work_processes")),
    "work_processes": Command("work_processes.ending", "of_options", WORK_PROCESSES, ("work_processes",)),
}


def result_of(module: str, options: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """What a module returns, or how it fails.

    Args:
        module: Its name, without the collection.
        options: Some of its options, of the right types; the others have their defaults.
        check: Change nothing.

    Raises:
        Exception: A fault of ours; a module would end with a traceback.
    """
    does = function_of(module)
    try:
        result = does(complete(options, COMMANDS[module].spec), check)
    except Exception as error:
        if not hasattr(error, "as_result"):
            raise
        result = error.as_result()
    return result


def function_of(module: str) -> t.Callable[[dict[str, t.Any], bool], dict[str, t.Any]]:
    """What a module calls, with all that it imports."""
    command = COMMANDS[module]
    file = importlib.import_module(f"{__package__}.{command.file}")
    return t.cast("t.Callable[[dict[str, t.Any], bool], dict[str, t.Any]]", getattr(file, command.function))
