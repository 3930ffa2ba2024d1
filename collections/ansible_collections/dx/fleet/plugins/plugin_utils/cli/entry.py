# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PYTHON_ARGCOMPLETE_OK
"""Where the console scripts begin."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["fleet_main", "main", "spare_main"]


def main() -> None:
    """Run dx-dispatch and exit with its code."""
    _run("dx-dispatch")


def fleet_main() -> None:
    """Run dx-fleet and exit with its code."""
    _run("dx-fleet")


def spare_main() -> None:
    """Get ready for a command, wait for its words, run it, and exit with its code."""
    from ..launch import fast_start, in_process
    from ..launch.spare_command import wait_for_words
    from . import command_names

    fast_start.collect_no_garbage()
    in_process.load()
    for name in command_names.command_names():
        command_names.command_called(name)
    words = wait_for_words(int(sys.argv[1]))
    if words is not None:
        sys.argv = words
        _run(words[0])


def _run(program: str) -> None:
    _open_closed_streams(program)
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(each, signal.default_int_handler)
    try:
        from ..launch import fast_start

        fast_start.collect_no_garbage()
        from . import app

        if "_ARGCOMPLETE" in os.environ:  # a shell asks how the line goes on
            from argcomplete import autocomplete

            autocomplete(app.completed(program))
        code = (app.run_dispatch if program == "dx-dispatch" else app.run_fleet)(sys.argv[1:])
    except KeyboardInterrupt:  # in the middle of an import; all later ones are shown as errors are
        sys.exit(130)
    fast_start.leave(code)


def _open_closed_streams(program: str) -> None:
    """Put something behind standard streams that whoever started this has closed.

    Without it, the next file that is opened is taken for standard output.
    """
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for name in closed:  # in their order: a file gets the lowest number that is free
        setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    if "stdout" in closed:
        print(f"{program}: standard output is closed: the exit code is all there is", file=sys.stderr)
