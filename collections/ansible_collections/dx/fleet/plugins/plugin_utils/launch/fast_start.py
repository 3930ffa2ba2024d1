# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the start of a run fast, in one place: the rest of the code reads as if none of it were there.

Each trick stands with what it saves: CPU time of ``dx-fleet status`` of one VM that is down, with it and
without, the least of six runs each, ansible-core 2.19.14 on Python 3.11 (0.79 s with all of them).
``DX_FAST_START=0`` turns all of them off. Most reach into Ansible, so each is left out where this Ansible is
not as it was measured with, and the run is as it is without it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

from ..config.fast_start import is_on
from .module_cache import keep_modules
from .routing_cache import cache_routing

__all__ = [
    "cache_the_routing_table",
    "collect_no_garbage",
    "freeze_garbage",
    "import_plugins",
    "import_what_workers_need",
    "keep_modules_packed",
    "leave",
    "left_out",
    "load_connections",
    "load_only_callbacks_that_run",
    "load_only_plugins_of",
    "look_for_results_less_often",
]

POLL_INTERVAL_S = 0.005
PLUGINS_OF_A_STOP = (
    *("action.beads_claim", "action.beads_info", "action.opencode_stop"),
    *("callback.dispatch_results", "inventory.vm_endpoints"),
)  # by name, as no module here imports a plugin

left_out: dict[str, str] = {}
"""Tricks that this Ansible does not take, and why."""


def _trick(does: Callable[..., None]) -> Callable[..., None]:
    """A function that only makes a run faster: it does nothing where it is not wanted or does not fit."""

    @wraps(does)
    def guarded(*args: Any, **options: Any) -> None:
        if not is_on(os.environ):
            return
        try:
            does(*args, **options)
        except (AttributeError, ImportError, OSError, RuntimeError) as error:
            left_out[does.__name__] = f"{type(error).__name__}: {error}"

    return guarded


@_trick
def collect_no_garbage() -> None:
    """0.10 s: starting makes hundreds of thousands of objects and no garbage."""
    gc.disable()


@_trick
def freeze_garbage() -> None:
    """0.24 s: what is there now stays to the end.

    No collection looks at it, in this process, in a worker (which would copy its pages), or at the end.
    """
    gc.freeze()
    gc.enable()


@_trick
def cache_the_routing_table() -> None:
    """0.18 s: Ansible parses 10 000 lines of YAML at each start, its table of moved plugins."""
    cache_routing(os.environ)


@_trick
def keep_modules_packed() -> None:
    """0.18 to 0.35 s for each kind of module that runs on a host: packed once, not in each run.

    Those are the modules that :mod:`..ansible_edge.by_stdin` can't run there, and those of Ansible.
    """
    keep_modules(os.environ, Path(__file__).parents[2])


@_trick
def look_for_results_less_often() -> None:
    """4 % of a core for as long as an agent works: Ansible looks for results a thousand times a second.

    Its option for that has no environment variable.
    """
    from ansible import constants

    if not hasattr(constants, "DEFAULT_INTERNAL_POLL_INTERVAL"):
        raise AttributeError("ansible.constants has no DEFAULT_INTERNAL_POLL_INTERVAL")
    constants.DEFAULT_INTERNAL_POLL_INTERVAL = POLL_INTERVAL_S


@_trick
def import_what_workers_need(*, with_beads: bool, with_audit: bool) -> None:
    """0.04 s, of a dispatch 0.06 s: the actions' code, once for all workers and from byte code.

    Ansible's collection loader compiles every module from its source (2.19).
    """
    from ..ansible_edge import action, vm_action  # noqa: F401
    from ..dispatch import place, preflight  # noqa: F401
    from ..domain import next_action, precedence, request, settlement, verdict, work  # noqa: F401
    from ..sessions import survey, wait  # noqa: F401

    if with_beads:
        from ..ansible_edge import tracker_action  # noqa: F401
        from ..beads import claim_sessions  # noqa: F401
    if with_audit:
        from ..audit.facts import play, trail  # noqa: F401
        from ..audit.slack import mending  # noqa: F401
        from ..audit.store import (  # noqa: F401
            deliverer_process,
            recorder,
            trail_wait,
        )


@_trick
def load_only_plugins_of(inventory: Any) -> None:
    """0.03 s: for the workers, only the connection plugins that hosts of the inventory use.

    Ansible loads all of them, with all shell and become plugins, to have their options read once (2.19). What
    is left out here loads where it is used.
    """
    from ansible import constants
    from ansible.executor import playbook_executor
    from ansible.plugins.loader import connection_loader, shell_loader

    def connection(host: Any) -> str:
        return str(host.get_vars().get("ansible_connection", constants.DEFAULT_TRANSPORT))

    used = {connection(host) for host in inventory.get_hosts()}
    loaders = {
        "connection_loader": _Only(connection_loader, used),
        "shell_loader": _Only(shell_loader, {"sh"}),
        "become_loader": _Only(None, ()),
    }
    if unknown := [name for name in loaders if not hasattr(playbook_executor, name)]:
        raise AttributeError(f"ansible.executor.playbook_executor has no {unknown[0]}")
    vars(playbook_executor).update(loaders)


@_trick
def load_only_callbacks_that_run() -> None:
    """0.02 s: Ansible loads every callback to see which run, and none of its own does that is not enabled."""
    from ansible import constants
    from ansible.plugins import callback, loader

    filters, package = loader._PLUGIN_FILTERS, loader.callback_loader.package
    wanted = (*constants.CALLBACKS_ENABLED, constants.DEFAULT_STDOUT_CALLBACK)
    found = [Path(path) for path in loader.callback_loader.all(path_only=True)]
    ansibles_own = Path(callback.__file__).parent
    needed = {name.rpartition(".")[2] for name in wanted}
    needed |= {path.stem for path in found if path.parent != ansibles_own}
    filters[package] = filters[package] | {path.stem for path in found} - needed


@_trick
def import_plugins() -> None:
    """0.03 s, of a process that is kept ready: what each run loads, and what a stop does, from byte code."""
    from ansible.executor import task_executor  # noqa: F401
    from ansible.executor.process import worker  # noqa: F401
    from ansible.parsing.dataloader import DataLoader
    from ansible.parsing.yaml import dumper  # noqa: F401
    from ansible.playbook import handler_task_include  # noqa: F401
    from ansible.plugins.cache import memory  # noqa: F401
    from ansible.plugins.strategy import linear  # noqa: F401
    from ansible.plugins.vars import host_group_vars  # noqa: F401
    from ansible.template import Templar, trust_as_template
    from ansible.utils import encrypt, hashing, unicode  # noqa: F401

    for name in PLUGINS_OF_A_STOP:
        importlib.import_module(f"{__name__.partition('.plugin_utils.')[0]}.{name}")
    Templar(DataLoader()).template(trust_as_template("{{ 1 | default(2) }}"))  # which loads Ansible's filters


@_trick
def load_connections() -> None:
    """0.02 s, of a process that is kept ready: the ways to hosts, with the documentation of their options."""
    from ansible.plugins.loader import connection_loader, shell_loader

    for loader, name in ((connection_loader, "ssh"), (connection_loader, "local"), (shell_loader, "sh")):
        loader.get(name, class_only=True)


def leave(code: int) -> NoReturn:
    """0.03 s: end this process without taking each of its objects apart."""
    if is_on(os.environ) and threading.active_count() == 1 and _is_written_out():
        atexit._run_exitfuncs()
        os._exit(code)
    sys.exit(code)


def _is_written_out() -> bool:
    """Whether the standard streams took all that was printed; else Python says what became of it."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True


class _Only:
    """A plugin loader that says it has no other plugins than these."""

    def __init__(self, loader: Any, names: Collection[str]) -> None:
        self._loader = loader
        self._names = names

    def all(self, **options: Any) -> Iterator[Any]:
        return (self._loader.get(name, **options) for name in sorted(self._names))
