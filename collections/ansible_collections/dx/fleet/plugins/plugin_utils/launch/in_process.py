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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..ansible_edge.progress_bus import ProgressBus, open_bus
from ..domain.progress import Emit, discard
from . import fast_start
from .collected import Collected, ResultFile
from .playbook_run import PlaybookRun

__all__ = ["InProcess"]

CALLBACK = "dx.fleet.dispatch_results"
INVENTORY_PLUGINS = "dx.fleet.vm_endpoints"  # another one that takes the file would hide its errors
LAST_EVENTS_S = 2.0


class InProcess:
    """Runs one playbook here; see :class:`.Launcher`.

    Args:
        results: Where its results are recorded; a file of its own by default.
    """

    def __init__(self, results: ResultFile | None = None) -> None:
        self._results = results or ResultFile()

    def run(self, playbook: PlaybookRun, progress: Emit = discard) -> Collected:
        """Run it; see :meth:`.Launcher.run`.

        Raises:
            ansible.errors.AnsibleError: It could not begin.
        """
        with _followed(progress):
            self._run(playbook)
        return self.so_far()

    def so_far(self) -> Collected:
        """What its tasks have returned until now."""
        return self._results.collected()

    def _run(self, playbook: PlaybookRun) -> None:
        os.environ.update(_settings(playbook.hosts, self._results.descriptor))
        for stream in (0, 1, 2):
            # Ansible refuses to start where another program (any of Node's) left one of them non-blocking.
            with suppress(OSError):
                os.set_blocking(stream, True)
        with_beads = "bead" in playbook.variables
        fast_start.import_what_workers_need(with_beads=with_beads, with_audit=bool(playbook.callbacks))
        _drop_namespace_packages()
        fast_start.cache_the_routing_table()
        fast_start.look_for_results_less_often()
        cli = _cli(playbook)
        cli.parse()
        fast_start.freeze_garbage()
        cli.run()


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
    skipped = "report" if "bead" in playbook.variables else "report,dx_bead,dx_look"
    argv = ["ansible-playbook", "-i", str(playbook.inventory), f"dx.fleet.{playbook.name}"]
    argv += ["--skip-tags", skipped, *["--check"] * playbook.check]
    return Run([*argv, *["-" + "v" * playbook.verbosity] * bool(playbook.verbosity)])


def _settings(hosts: int, results: int) -> Mapping[str, str]:
    """What this run needs of Ansible, as environment variables: they are read when it is imported."""
    own_root = Path(__file__).parents[6]
    others = (
        os.environ.get("ANSIBLE_COLLECTIONS_PATH") or "~/.ansible/collections:/usr/share/ansible/collections"
    )
    return {
        "ANSIBLE_COLLECTIONS_PATH": f"{own_root}:{others}",
        "ANSIBLE_STDOUT_CALLBACK": CALLBACK,
        "ANSIBLE_INVENTORY_ENABLED": INVENTORY_PLUGINS,
        "ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS": "ignore",
        "ANSIBLE_FORKS": str(max(hosts, 5)),
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "DX_RESULTS_FD": str(results),
    }


@contextmanager
def _followed(progress: Emit) -> Iterator[None]:
    """Hand over the progress of all workers that are forked meanwhile."""
    reader: threading.Thread | None = None
    try:
        with open_bus() as bus:
            reader = threading.Thread(target=_read, args=(bus, progress), daemon=True)
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
