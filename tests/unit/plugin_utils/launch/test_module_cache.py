# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules are packed once for all runs, by the real Ansible, and anew as soon as any of their code is another."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from ansible import constants
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.module_cache import keep_modules

from tests.command import COLLECTIONS, run_ansible

PLUGINS = COLLECTIONS / "ansible_collections" / "dx" / "fleet" / "plugins"


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A copy of what is packed."""
    for name in ("modules", "module_utils"):
        shutil.copytree(PLUGINS / name, tmp_path / "plugins" / name)
    return tmp_path / "plugins"


def folder_of(cache: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the next run finds what was packed; each has a temporary folder of its own."""
    local = cache.parent / f"local-{time.monotonic_ns()}"
    local.mkdir()
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(local))
    keep_modules({"XDG_CACHE_HOME": str(cache)}, plugins)
    return (local / "ansiballz_cache").resolve()


def test_another_state_of_the_code_has_another_folder(
    tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = folder_of(cache, plugins, monkeypatch)
    assert folder_of(cache, plugins, monkeypatch) == first
    assert first.stat().st_mode & 0o777 == 0o700
    (plugins / "module_utils" / "git" / "names.py").write_text("# changed\n")
    second = folder_of(cache, plugins, monkeypatch)
    assert second != first
    os.utime(first, (0, 0))
    (plugins / "modules" / "new.py").write_text("")
    folder_of(cache, plugins, monkeypatch)
    assert not first.exists(), "no run has used it for long"
    assert second.exists()


def test_what_was_cut_short_is_packed_again(
    tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "cache", plugins, monkeypatch)
    for name, data in {"empty": b"", "half": b"\x80\x04abc", "whole": b"\x80\x04N.", "a.lock": b""}.items():
        (folder / name).write_bytes(data)
    folder_of(tmp_path / "cache", plugins, monkeypatch)
    assert sorted(path.name for path in folder.iterdir()) == ["a.lock", "whole"]


def test_a_folder_that_others_may_write_to_is_not_used(
    tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "cache", plugins, monkeypatch)
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        folder_of(tmp_path / "cache", plugins, monkeypatch)


def test_ansible_itself_takes_what_is_there(tmp_path: Path) -> None:
    """A run packs into the folder that the link leads to, and the end of the run leaves it."""
    kept = tmp_path / "kept"
    kept.mkdir()
    callback = tmp_path / "linked.py"
    callback.write_text(
        "import os\nfrom ansible import constants\nfrom ansible.plugins.callback import CallbackBase\n"
        "DOCUMENTATION = 'name: linked\\ntype: aggregate\\nshort_description: x'\n"
        "class CallbackModule(CallbackBase):\n    CALLBACK_NAME = 'linked'\n    CALLBACK_TYPE = 'aggregate'\n"
        f"    def v2_playbook_on_start(self, _):\n        os.symlink({str(kept)!r}, os.path.join(constants.DEFAULT_LOCAL_TMP, 'ansiballz_cache'))\n"
    )
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks: [{dx.fleet.git_worktree_info: {}}]\n"
    )
    env = {
        "HOME": str(tmp_path),
        "ANSIBLE_CALLBACK_PLUGINS": str(tmp_path),
        "ANSIBLE_CALLBACKS_ENABLED": "linked",
    }
    words = ("-c", "local", "-e", f"ansible_python_interpreter={sys.executable}")
    times = []
    for _ in range(2):
        done = run_ansible("ansible-playbook", "-i", "localhost,", *words, str(playbook), env=env)
        assert done.code == 0, done
        (packed,) = [path for path in kept.iterdir() if path.suffix != ".lock"]
        times.append(packed.stat().st_mtime_ns)
    assert times[0] == times[1]
