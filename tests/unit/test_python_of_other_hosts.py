# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules and what they import run by the Python of a VM or of the tracker host: 3.9 or later, and nothing installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ansible
import pytest

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"
PLUGINS = COLLECTIONS / "ansible_collections" / "dx" / "fleet" / "plugins"
FOLDERS = ("modules", "module_utils")
SOURCES = sorted(path for folder in FOLDERS for path in (PLUGINS / folder).rglob("*.py"))
OLDEST_FIRST = ("3.9", "3.10", "3.11")

# Compiles each file, then imports it; of what is not in the standard library, only Ansible's own can be found.
IMPORT_ALL = """
import importlib, sys
collections, ansible, *files = sys.argv[1:]
class Library:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("ansible", "ansible_collections"):
            return None
        for finder in rest:
            found = finder.find_spec(name, path, target)
            if found is not None:
                if found.origin and "-packages" in found.origin:
                    raise ImportError(name + " is no part of the standard library")
                return found
rest = list(sys.meta_path)
sys.path += [collections, ansible]
sys.meta_path.insert(0, Library)
for file in files:
    with open(collections + "/" + file, encoding="utf-8") as source:
        compile(source.read(), file, "exec", dont_inherit=True)
    importlib.import_module(file[: -len(".py")].replace("/", ".").replace(".__init__", ""))
print(sys.version_info[:2], len(files))
"""


def pythons() -> dict[str, str]:
    """Version -> an interpreter of it, of those that PATH or pyenv has."""
    roots = [Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"]
    found = {}
    for version in OLDEST_FIRST:
        candidates = [shutil.which(f"python{version}")]
        candidates += sorted(str(path) for root in roots for path in root.glob(f"{version}.*/bin/python3"))
        for candidate in filter(None, candidates):
            if _runs_as(candidate, version):
                found[version] = candidate
                break
    return found


def _runs_as(python: str, version: str) -> bool:
    """Whether it is that version: a shim of pyenv is there for versions that are not chosen, too."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() == version


def test_they_compile_and_import_by_the_oldest_python_that_can_be_had() -> None:
    python = next(iter(pythons().values()), sys.executable)
    files = [str(path.relative_to(COLLECTIONS)) for path in SOURCES]
    words = [python, "-I", "-c", IMPORT_ALL, str(COLLECTIONS), str(Path(ansible.__file__).parents[1]), *files]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (python, done.stderr)
    assert done.stdout.endswith(f" {len(SOURCES)}\n")


@pytest.mark.parametrize("folder", FOLDERS)
def test_they_use_nothing_that_is_newer_than_3_9(folder: str) -> None:
    """What a module does only when it runs is not seen by an import."""
    vermin = [str(Path(sys.executable).with_name("vermin")), "--target=3.9-", "--no-tips", "--violations"]
    done = subprocess.run([*vermin, str(PLUGINS / folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Minimum required versions" in done.stdout
