# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a start fast: it fits this Ansible, can be switched off, and gives way where it does not fit."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible import constants
from ansible.executor import playbook_executor
from ansible.plugins import loader
from ansible.utils.collection_loader import _collection_finder as finder
from ansible_collections.dx.fleet.plugins.plugin_utils.config.fast_start import is_on
from ansible_collections.dx.fleet.plugins.plugin_utils.launch import fast_start

from tests.command import COLLECTIONS

LOADERS = ("connection_loader", "shell_loader", "become_loader")


def inventory_of(*hosts: dict[str, Any]) -> MagicMock:
    inventory = MagicMock()
    inventory.get_hosts.return_value = [MagicMock(get_vars=lambda host=host: host) for host in hosts]
    return inventory


TRICKS: dict[str, Callable[[], None]] = {
    "collect_no_garbage": fast_start.collect_no_garbage,
    "freeze_garbage": fast_start.freeze_garbage,
    "cache_the_routing_table": fast_start.cache_the_routing_table,
    "keep_modules_packed": fast_start.keep_modules_packed,
    "look_for_results_less_often": fast_start.look_for_results_less_often,
    "import_what_workers_need": lambda: fast_start.import_what_workers_need(with_beads=True, with_audit=True),
    "import_plugins": fast_start.import_plugins,
    "load_only_callbacks_that_run": fast_start.load_only_callbacks_that_run,
    "load_connections": fast_start.load_connections,
    "load_only_plugins_of": lambda: fast_start.load_only_plugins_of(inventory_of()),
}


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What the tricks change in this process is changed back."""
    (tmp_path / "local").mkdir()
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "local"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DX_FAST_START", raising=False)
    monkeypatch.setattr(fast_start, "left_out", {})
    for name in LOADERS:
        monkeypatch.setattr(playbook_executor, name, getattr(playbook_executor, name))
    monkeypatch.setattr(loader, "_PLUGIN_FILTERS", copy(loader._PLUGIN_FILTERS))
    monkeypatch.setattr(loader.connection_loader, "_module_cache", {})
    monkeypatch.setattr(finder, "_meta_yml_to_dict", finder._meta_yml_to_dict)
    interval = constants.DEFAULT_INTERNAL_POLL_INTERVAL
    monkeypatch.setattr(constants, "DEFAULT_INTERNAL_POLL_INTERVAL", interval, raising=False)
    yield
    gc.unfreeze()
    gc.enable()


def changed() -> tuple[Any, ...]:
    """All that the tricks change."""
    loaders = tuple(getattr(playbook_executor, name) for name in LOADERS)
    interval = constants.DEFAULT_INTERNAL_POLL_INTERVAL
    kept = Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").is_symlink()
    filtered = loader._PLUGIN_FILTERS[loader.callback_loader.package]
    loaded = len(loader.connection_loader._module_cache)
    return (
        gc.isenabled(),
        filtered,
        loaded,
        gc.get_freeze_count(),
        finder._meta_yml_to_dict,
        interval,
        loaders,
        kept,
    )


def test_the_table_has_every_trick() -> None:
    assert set(TRICKS) == {
        name for name in fast_start.__all__ if hasattr(getattr(fast_start, name), "__wrapped__")
    }


@pytest.mark.parametrize("name", TRICKS)
def test_each_trick_fits_this_ansible(name: str) -> None:
    TRICKS[name]()
    assert fast_start.left_out == {}


@pytest.mark.parametrize("name", [name for name in TRICKS if not name.startswith("import_")])
def test_each_trick_changes_something_unless_it_is_switched_off(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.unfreeze()
    before = changed()
    monkeypatch.setenv("DX_FAST_START", "0")
    TRICKS[name]()
    assert changed() == before
    monkeypatch.setenv("DX_FAST_START", "1")
    TRICKS[name]()
    assert changed() != before


@pytest.mark.parametrize(
    ("value", "on"),
    [(None, True), ("", True), ("1", True), ("0", False), ("false", False), ("No", False), ("off", False)],
)
def test_the_switch(value: str | None, on: bool) -> None:
    assert is_on({} if value is None else {"DX_FAST_START": value}) is on


def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def gone(module: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.delattr(module, name)


@pytest.mark.parametrize(
    ("name", "another_ansible"),
    [
        ("cache_the_routing_table", gone(finder, "_meta_yml_to_dict")),
        ("cache_the_routing_table", no_home),
        ("load_only_plugins_of", gone(playbook_executor, "shell_loader")),
        ("look_for_results_less_often", lambda patch: patch.setattr("ansible.constants", SimpleNamespace())),
    ],
)
def test_a_trick_that_does_not_fit_is_left_out(
    name: str, another_ansible: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        another_ansible(patch)
        TRICKS[name]()
    assert list(fast_start.left_out) == [name]


def loaded(*hosts: dict[str, Any]) -> list[str]:
    """Names of the plugins that Ansible's executor would load, by Ansible's own loaders."""
    fast_start.load_only_plugins_of(inventory_of(*hosts))
    plugins = [each for name in LOADERS for each in getattr(playbook_executor, name).all(class_only=True)]
    return [plugin._load_name for plugin in plugins]


def test_only_connections_that_hosts_use_are_loaded() -> None:
    assert loaded({"ansible_connection": "local"}) == ["local", "sh"]
    assert loaded({"ansible_connection": "local"}, {"ansible_host": "x"}) == ["local", "ssh", "sh"]


def test_of_ansibles_own_callbacks_only_those_that_run_are_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "tree.py").write_text("")
    before = loader.callback_loader._extra_dirs[:]
    loader.callback_loader.add_directory(str(tmp_path))
    try:
        monkeypatch.setattr(constants, "CALLBACKS_ENABLED", ["ansible.builtin.junit"])
        monkeypatch.setattr(constants, "DEFAULT_STDOUT_CALLBACK", "minimal")
        fast_start.load_only_callbacks_that_run()
        assert loader._PLUGIN_FILTERS[loader.callback_loader.package] == {"default", "oneline"}
    finally:
        loader.callback_loader._extra_dirs[:] = before
        loader.callback_loader._paths = None


LEAVES = """
import atexit, threading
from ansible_collections.dx.fleet.plugins.plugin_utils.launch import fast_start

class Told:
    def __del__(self):
        print("taken apart")

told = Told()
atexit.register(print, "at exit")
if {thread}:
    threading.Thread(target=lambda: (threading.main_thread().join(), print("thread ended"))).start()
print("x" * 100_000, end="\\n")
fast_start.leave(7)
"""


@pytest.mark.parametrize(
    ("environ", "thread", "lines"),
    [
        ({}, False, ["at exit"]),
        ({"DX_FAST_START": "0"}, False, ["at exit", "taken apart"]),
        ({}, True, ["thread ended", "at exit", "taken apart"]),
    ],
    ids=["at once", "turned off", "another thread"],
)
def test_a_process_that_leaves_has_written_and_done_all(
    environ: dict[str, str], thread: bool, lines: list[str]
) -> None:
    program = [sys.executable, "-c", LEAVES.format(thread=thread)]
    env = {**os.environ, "PYTHONPATH": str(COLLECTIONS), **environ}
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (7, ["x" * 100_000, *lines], "")


def test_a_process_whose_reader_has_gone_ends_as_any_other() -> None:
    program = [sys.executable, "-c", LEAVES.format(thread=False)]
    ends = []
    for switch in ("1", "0"):
        env = {**os.environ, "PYTHONPATH": str(COLLECTIONS), "DX_FAST_START": switch}
        with subprocess.Popen(
            program,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            said = process.stderr.read()
            ends.append((process.wait(20), b"BrokenPipeError" in said, b"ModuleNotFound" in said))
    assert ends[0] == ends[1]
    assert ends[0][1:] == (True, False)
