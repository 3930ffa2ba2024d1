# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of a playbook in this process: the fast one, for a command that does nothing else.

Ansible costs a third of a second to import and start. It has one configuration, one display and one set of
signal handlers in a process: two runs at a time need ``in_child``.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from ..ansible_edge.claims_ahead import reading_claims
from ..ansible_edge.progress_bus import ProgressBus, open_bus
from ..domain.errors import ConfigError
from ..domain.progress import Emit, discard
from . import fast_start
from .ansible_settings import load_ansible, of_settings, prepare_machine, settings_of
from .collected import Collected, ResultFile
from .playbook_run import PlaybookRun

__all__ = ["InProcess", "load"]

LAST_EVENTS_S = 2.0
LEAST_FORKS = 5  # as Ansible has it; each VM is waited for by one


def load() -> None:
    """Import Ansible and what a run needs before there is one. Ansible reads its configuration meanwhile.

    What keeps it from that keeps the run as well, which says so.
    """
    given = dict(os.environ)
    try:
        prepare_machine(os.environ)
        os.environ.update(settings_of(os.environ))
        load_ansible(given)
        fast_start.import_what_workers_need(with_beads=True, with_audit=True)
        fast_start.import_plugins()
        fast_start.load_connections()
    except ConfigError:
        pass
    finally:
        os.environ.clear()
        os.environ.update(given)


class InProcess:
    """Runs one playbook here; see :class:`.Launcher`.

    Args:
        results: Where its results are recorded; a file of its own by default.
    """

    def __init__(self, results: ResultFile | None = None) -> None:
        self._results = results or ResultFile()

    def run(self, playbook: PlaybookRun, progress: Emit = discard) -> Collected:
        """Run it; see :meth:`.Launcher.run`.

        What Ansible itself prints goes to standard error, as standard output is the caller's.

        Raises:
            ConfigError: The machine or the user's settings of Ansible keep it from beginning.
            ansible.errors.AnsibleError: It could not begin because of the playbook or the inventory.
        """
        with reading_claims(playbook.claims_of), _followed(progress):
            self._run(playbook)
        return self.so_far()

    def so_far(self) -> Collected:
        """What its tasks have returned until now."""
        return self._results.collected()

    def _run(self, playbook: PlaybookRun) -> None:
        given = dict(os.environ)
        prepare_machine(os.environ)
        os.environ.update(settings_of(os.environ), DX_RESULTS_FD=str(self._results.descriptor))
        for stream in (0, 1, 2):
            # Ansible refuses to start where another program (any of Node's) left one of them non-blocking.
            with suppress(OSError):
                os.set_blocking(stream, True)
        load_ansible(given)
        with_beads = "bead" in playbook.variables
        fast_start.import_what_workers_need(with_beads=with_beads, with_audit=bool(playbook.callbacks))
        _drop_namespace_packages()
        fast_start.cache_the_routing_table()
        fast_start.keep_modules_packed()
        fast_start.look_for_results_less_often()
        fast_start.load_only_callbacks_that_run()
        cli = _cli(playbook)
        fast_start.freeze_garbage()
        try:
            with redirect_stdout(sys.stderr):
                cli.run()
        except Exception as error:
            raise of_settings(error, given) from error


def _cli(playbook: PlaybookRun) -> Any:
    """Ansible's command line program for this run."""
    from ansible import constants
    from ansible.cli.playbook import PlaybookCLI

    constants.CALLBACKS_ENABLED = [*constants.CALLBACKS_ENABLED, *playbook.callbacks]

    class Run(PlaybookCLI):  # type: ignore[misc]
        def _play_prereqs(self) -> Any:
            loader, inventory_manager, variable_manager = super()._play_prereqs()
            fast_start.load_only_plugins_of(inventory_manager)
            # Variables of -e are templates to Ansible; plain strings put here are not.
            variable_manager.extra_vars.update(playbook.variables)
            return loader, inventory_manager, variable_manager

    # A task that is not needed costs a process all the same.
    argv = ["ansible-playbook", "-i", str(playbook.inventory), f"dx.fleet.{playbook.name}"]
    argv += ["--forks", str(max(playbook.hosts, LEAST_FORKS))]
    argv += ["--skip-tags", ",".join(playbook.skip_tags), *["--check"] * playbook.check]
    return Run([*argv, *["-" + "v" * playbook.verbosity] * bool(playbook.verbosity)])


@contextmanager
def _followed(progress: Emit) -> Iterator[None]:
    """Hand over the progress of all workers that are forked meanwhile."""
    reader: threading.Thread | None = None
    try:
        with open_bus() as bus:
            reader = threading.Thread(target=_read, args=(bus, progress), name="progress", daemon=True)
            reader.start()
            yield
    finally:
        if reader is not None:
            reader.join(LAST_EVENTS_S)  # the closed bus ends it after all that was sent


def _read(bus: ProgressBus, progress: Emit) -> None:
    while (event := bus.receive()) is not None:
        progress(event)


def _drop_namespace_packages() -> None:
    """Let Ansible's loader make the packages above this collection anew.

    Python made them as plain namespace packages when the console script began, without the metadata that
    Ansible hangs on them. They hold no code; every module stays as it is.
    """
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "ansible_collections" and getattr(module, "__file__", None) is None:
            del sys.modules[name]
