# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a playbook in this process.

Ansible costs a third of a second to import and start: in this process it is paid once, and the results
need no way back from another one.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .routing_cache import cache_routing

__all__ = ["Collected", "collected", "run_playbook"]

POLL_INTERVAL_S = 0.005
CALLBACK = "dx.fleet.dispatch_results"
SURVEY = ("url", "version", "home", "sessions", "session_counts", "permissions", "questions")
OF_THE_TRACKER = ("dx.fleet.beads_info", "dx.fleet.beads_reap")
INVENTORY_PLUGINS = "dx.fleet.vm_endpoints"  # another one that takes the file would hide its errors


@dataclass
class Collected:
    """What the tasks of a run told, by host: the last outcome, the last survey, and faults of our own.

    ``elsewhere``: the VM on which the work of a host's bead goes on. ``tracker``: what was last told of all
    claims.
    """

    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    surveys: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    tracker: dict[str, Any] | None = None

    def take(
        self, host: str, result: Mapping[str, Any], *, failed: bool = False, action: str | None = None
    ) -> None:
        """Take the result of one task on one host; ``action`` is the task's, if that is of interest."""
        if action in OF_THE_TRACKER:
            self.tracker = dict(result)
            return
        if "elsewhere" in result:
            self.elsewhere[host] = result["elsewhere"]
        if isinstance(outcome := result.get("outcome"), dict):
            self.outcomes[host] = dict(outcome)
        elif failed:
            self.outcomes.pop(host, None)  # what an earlier task saw is not what became of it
            self.faults.setdefault(host, str(result.get("msg") or result.get("exception") or "a task failed"))
        elif "session_counts" in result:
            self.surveys[host] = {key: result[key] for key in SURVEY}  # and nothing that Ansible adds


collected = Collected()


def run_playbook(
    name: str,
    *,
    inventory: Path,
    variables: Mapping[str, Any],
    hosts: int,
    check: bool = False,
    verbosity: int = 0,
    callbacks: Sequence[str] = (),
) -> Collected:
    """Run a playbook of this collection.

    Args:
        name: Its name, such as ``dispatch``.
        inventory: Inventory source.
        variables: Extra variables, as data: no string in them is ever a template.
        hosts: How many hosts it will run on; each gets a worker, as one waits for its agent.
        check: Check mode.
        verbosity: As of ``-v``.
        callbacks: Enabled beside those of the user's ansible.cfg.

    Returns:
        What the run told.

    Raises:
        ansible.errors.AnsibleError: The run could not begin.

    What was told until now is always in :data:`collected`.
    """
    _configure(hosts)
    for stream in (0, 1, 2):
        # Ansible refuses to start where another program (any of Node's) left one of them non-blocking.
        with suppress(OSError):
            os.set_blocking(stream, True)
    _import_what_workers_need(with_beads="bead" in variables, with_audit=bool(callbacks))
    _drop_namespace_packages()
    cache_routing(os.environ)
    from ansible import constants
    from ansible.cli.playbook import PlaybookCLI

    # Ansible looks for results a thousand times a second: 4 % of a core for as long as an agent works.
    # Its option for that has no environment variable.
    constants.DEFAULT_INTERNAL_POLL_INTERVAL = POLL_INTERVAL_S
    constants.CALLBACKS_ENABLED = [*constants.CALLBACKS_ENABLED, *callbacks]

    class Run(PlaybookCLI):  # type: ignore[misc]
        def _play_prereqs(self) -> Any:
            loader, inventory_manager, variable_manager = super()._play_prereqs()
            _load_only_plugins_of(inventory_manager)
            # Variables of -e are templates to Ansible; plain strings put here are not.
            variable_manager.extra_vars.update(variables)
            return loader, inventory_manager, variable_manager

    skipped = "report" if "bead" in variables else "report,dx_bead,dx_look"
    argv = ["ansible-playbook", "-i", str(inventory), f"dx.fleet.{name}", "--skip-tags", skipped]
    run = Run(argv + ["--check"] * check + ["-" + "v" * verbosity] * bool(verbosity))
    run.parse()
    # What is there now stays to the end: no worker need copy it because of a collection.
    gc.freeze()
    gc.enable()
    run.run()
    return collected


def _configure(hosts: int) -> None:
    """Set what this run needs of Ansible, before it is imported; the rest is the user's ansible.cfg."""
    own_root = Path(__file__).parents[6]
    others = (
        os.environ.get("ANSIBLE_COLLECTIONS_PATH") or "~/.ansible/collections:/usr/share/ansible/collections"
    )
    os.environ.update(
        ANSIBLE_COLLECTIONS_PATH=f"{own_root}:{others}",
        ANSIBLE_STDOUT_CALLBACK=CALLBACK,
        ANSIBLE_INVENTORY_ENABLED=INVENTORY_PLUGINS,
        ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS="ignore",
        ANSIBLE_FORKS=str(max(hosts, 5)),
        ANSIBLE_RETRY_FILES_ENABLED="false",
        ANSIBLE_LOCALHOST_WARNING="false",
    )


def _import_what_workers_need(*, with_beads: bool, with_audit: bool) -> None:
    """Import the actions' code now, and the callbacks': once for all workers, and from byte code.

    Ansible's collection loader compiles every module from its source (2.19), 60 ms for these.
    """
    from ..ansible_edge import action  # noqa: F401
    from ..dispatch import place, preflight  # noqa: F401
    from ..domain import next_action, precedence, request  # noqa: F401
    from ..sessions import survey, wait  # noqa: F401

    if with_beads:
        from ..ansible_edge import tracker_action  # noqa: F401
        from ..beads import claim_sessions  # noqa: F401
        from ..domain import settlement  # noqa: F401
    if with_audit:
        from ..audit.facts import play, trail  # noqa: F401
        from ..audit.slack import deliverer  # noqa: F401
        from ..audit.store import recorder  # noqa: F401


def _load_only_plugins_of(inventory: Any) -> None:
    """Load for the workers the connection plugins that hosts of the inventory use.

    Ansible loads all of them, with all shell and become plugins, to have their options read once (2.19): a
    tenth of a second, mostly for PowerShell's. What is left out here loads where it is used.
    """
    from ansible import constants
    from ansible.executor import playbook_executor
    from ansible.plugins.loader import connection_loader, shell_loader

    def connection(host: Any) -> str:
        return str(host.get_vars().get("ansible_connection", constants.DEFAULT_TRANSPORT))

    used = {connection(host) for host in inventory.get_hosts()}
    playbook_executor.connection_loader = _Only(connection_loader, used)
    playbook_executor.shell_loader = _Only(shell_loader, {"sh"})
    playbook_executor.become_loader = _Only(None, ())


class _Only:
    """A plugin loader that says it has no other plugins than these."""

    def __init__(self, loader: Any, names: Collection[str]) -> None:
        self._loader = loader
        self._names = names

    def all(self, **options: Any) -> Iterator[Any]:
        return (self._loader.get(name, **options) for name in sorted(self._names))


def _drop_namespace_packages() -> None:
    """Let Ansible's loader make the packages above this collection anew.

    Python made them as plain namespace packages when the console script began, without the metadata that
    Ansible hangs on them. They hold no code; every module stays as it is.
    """
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "ansible_collections" and getattr(module, "__file__", None) is None:
            del sys.modules[name]
