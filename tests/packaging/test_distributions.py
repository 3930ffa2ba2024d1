# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users install: the wheel, and the collection archive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.lab import Lab

CHECKOUT = Path(__file__).parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "dx" / "fleet"


def run(command: list[str | Path], cwd: Path, **environment: str) -> str:
    """Standard output of a command that must succeed; its environment has only what is given and PATH."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(cwd)} | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, CHECKOUT], out)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel, and this one's libraries below it."""
    root = tmp_path_factory.mktemp("venv")
    venv.create(root, with_pip=False)
    (site,) = root.glob("lib/python*/site-packages")
    # Libraries come from this environment; a .pth of it is not followed, so its own dx-fleet stays out.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            root / "bin" / "python",
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            "--ignore-installed",
            wheel,
        ],
        check=True,
        timeout=240,
    )
    return root / "bin"


def test_the_wheel_holds_the_collection_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=COLLECTION,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    expected = {f"ansible_collections/dx/fleet/{name}" for name in tracked}
    assert names - {name for name in names if ".dist-info/" in name} == expected
    assert "ansible_collections/dx/fleet/playbooks/dispatch.yml" in names


def test_the_installed_command_is_the_wheels_own(installed: Path, tmp_path: Path) -> None:
    code = "import ansible_collections.dx.fleet.plugins.plugin_utils.cli.app as app; print(app.__file__)"
    where = run([installed / "python", "-c", code], tmp_path)
    assert str(installed.parent) in where


def test_the_installed_command_helps_and_lists_from_anywhere(installed: Path, tmp_path: Path) -> None:
    assert "dx-dispatch epyc6 affordabot" in run([installed / "dx-dispatch", "--help"], tmp_path)
    assert run([installed / "dx-fleet", "--version"], tmp_path).startswith("dx-fleet 0.")
    endpoints = CHECKOUT / "inventory" / "vm-endpoints.json"
    listed = run([installed / "dx-fleet", "list", "--json"], tmp_path, DX_VM_ENDPOINTS=str(endpoints))
    assert [vm["vm"] for vm in json.loads(listed)["vms"]] == ["homedesktop", "macmini", "epyc6"]


def test_the_installed_command_says_where_to_write_the_fleet(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed / "dx-fleet", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "vm-endpoints.json" in done.stderr


def test_ansible_finds_the_installed_collection_without_configuration(
    installed: Path, tmp_path: Path
) -> None:
    documented = run([installed / "python", "-m", "ansible", "doc", "dx.fleet.opencode_dispatch"], tmp_path)
    assert "OpenCode" in documented
    checked = run(
        [
            installed / "python",
            "-m",
            "ansible",
            "playbook",
            "dx.fleet.dispatch",
            "--syntax-check",
            "-i",
            "localhost,",
        ],
        tmp_path,
    )
    assert str(installed.parent) in checked


def test_the_installed_command_runs_a_task(installed: Path, tmp_path: Path, lab: Lab) -> None:
    printed = run(
        [installed / "dx-dispatch", "epyc6", "affordabot", "Run make test", "--json"], tmp_path, **lab.env
    )
    (result,) = json.loads(printed)["results"]
    assert result["state"] == "completed"
    assert [(tool["title"], tool["exit"]) for tool in result["evidence"]["tools"]] == [("make test", 0)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("archive")
    run(
        [sys.executable, "-m", "ansible", "galaxy", "collection", "build", COLLECTION, "--output-path", out],
        out,
    )
    (found,) = out.glob("dx-fleet-*.tar.gz")
    return found


def test_the_archive_holds_the_collection(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert {
        "MANIFEST.json",
        "playbooks/dispatch.yml",
        "plugins/action/opencode_dispatch.py",
        "LICENSE",
    } <= set(names)
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]


@pytest.fixture(scope="module")
def collections(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of collections into which Ansible has installed the archive."""
    home = tmp_path_factory.mktemp("home")
    where = home / "collections"
    galaxy = [sys.executable, "-m", "ansible", "galaxy", "collection", "install", archive]
    run([*galaxy, "-p", where, "--offline", "--force"], home)
    return where


def test_ansible_runs_the_installed_archive_by_its_name(collections: Path, tmp_path: Path) -> None:
    paths = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"}
    listed = run(
        [sys.executable, "-m", "ansible", "doc", "-t", "inventory", "-l", "dx.fleet"], tmp_path, **paths
    )
    assert "dx.fleet.vm_endpoints" in listed
    checked = run(
        [
            sys.executable,
            "-m",
            "ansible",
            "playbook",
            "dx.fleet.dispatch",
            "--syntax-check",
            "-i",
            CHECKOUT / "inventory" / "fleet.yml",
        ],
        tmp_path,
        ANSIBLE_INVENTORY_ENABLED="dx.fleet.vm_endpoints",
        **paths,
    )
    assert str(collections) in checked


def test_the_installed_archives_playbook_runs_a_task(collections: Path, tmp_path: Path, lab: Lab) -> None:
    playbook = [sys.executable, "-m", "ansible", "playbook", "dx.fleet.dispatch", "-i", lab.inventory]
    printed = run(
        [*playbook, "-e", json.dumps({"repo": "affordabot", "task": "Run make test"})],
        tmp_path,
        **lab.env,
        ANSIBLE_COLLECTIONS_PATH=str(collections),
        ANSIBLE_COLLECTIONS_SCAN_SYS_PATH="false",
        ANSIBLE_INVENTORY_ENABLED="dx.fleet.vm_endpoints",
    )
    assert "finished, not verified: the agent wrote: tests passed" in printed


def test_both_distributions_have_one_version_and_the_same_requirements() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    galaxy = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())
    assert project["version"] == galaxy["version"]
    lines = (COLLECTION / "requirements.txt").read_text().splitlines()
    needed = {line for line in lines if line and not line.startswith("#")}
    core = {line for line in project["dependencies"] if line.startswith("ansible-core")}
    assert needed == set(project["dependencies"]) - core
    runtime = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text())
    assert f"ansible-core{runtime['requires_ansible'].removesuffix('.0')}" in core


@pytest.mark.parametrize("tool", ["plugins", "playbooks"])
def test_the_top_level_folders_are_links_into_the_collection(tool: str) -> None:
    assert (CHECKOUT / tool).readlink() == Path("collections/ansible_collections/dx/fleet") / tool
