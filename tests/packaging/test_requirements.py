# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is promised of the dependencies, and what the locks under requirements/ install, are the same."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

CHECKOUT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LOCKS = sorted((CHECKOUT / "requirements").glob("*.lock"))


def applying(lines: Iterable[str], python: str) -> list[Requirement]:
    """Those of the requirements that hold for a version of Python (on Linux)."""
    here = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
    }
    requirements = [Requirement(line) for line in lines]
    return [each for each in requirements if each.marker is None or each.marker.evaluate(here)]


def pins(lock: Path, python: str) -> dict[str, Version]:
    """The version of each package that a lock installs."""
    lines = [line for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    found: dict[str, Version] = {}
    for each in applying(lines, python):
        (pin,) = each.specifier
        assert pin.operator == "==", each
        assert found.setdefault(canonicalize_name(each.name), Version(pin.version)) == Version(pin.version)
    return found


def bounds(python: str) -> dict[str, Version]:
    """The lower bound of each dependency of the product."""
    found: dict[str, Version] = {}
    for each in applying(PYPROJECT["project"]["dependencies"], python):
        (bound,) = each.specifier
        assert bound.operator == ">=", each
        name = canonicalize_name(each.name)
        found[name] = max(found.get(name, Version("0")), Version(bound.version))
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lower_bounds_are_what_make_test_lowest_installs(python: str) -> None:
    installed = pins(CHECKOUT / "requirements" / "lowest.lock", python)
    assert {name: installed.get(name) for name in bounds(python)} == bounds(python), "run `make lock`"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("lock", "group"), [("dev", "test"), ("lint", "lint")])
def test_a_lock_has_all_that_its_group_asks_for(lock: str, group: str, python: str) -> None:
    installed = pins(CHECKOUT / "requirements" / f"{lock}.lock", python)
    groups = PYPROJECT["dependency-groups"]
    asked = [line for line in groups[group] + groups["test"] if isinstance(line, str)]
    for each in applying([*PYPROJECT["project"]["dependencies"], *asked], python):
        version = installed[canonicalize_name(each.name)]
        assert version in each.specifier, f"{each}: {version}; run `make lock`"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_neither_a_registry_nor_a_path(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    assert not [line for line in lines if "/" in line or "-index" in line]


def test_what_slows_every_start_stays_out_of_the_environment_that_runs_the_product() -> None:
    """With click installed, httpx imports a command line of its own."""
    assert "click" not in pins(CHECKOUT / "requirements" / "dev.lock", PYTHONS[0])
