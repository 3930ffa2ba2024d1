# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which OpenCode the lab takes, and that its pin can be installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab import BinaryMissingError
from tests.lab.binaries import find_opencode, pinned_version


def _executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def _install(checkout: Path, package: str, version: str) -> Path:
    directory = checkout / ".tools" / "npm" / "node_modules" / package
    binary = _executable(directory / "bin" / "opencode")
    (directory / "package.json").write_text(json.dumps({"version": version}))
    return binary


@pytest.fixture
def linux_x64(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if on a usual Linux machine."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.39"))
    monkeypatch.setattr("tests.lab.binaries._has_avx2", lambda: True)


def test_the_variable_wins(tmp_path: Path) -> None:
    binary = _executable(tmp_path / "mine")
    assert find_opencode({"DX_TEST_OPENCODE": str(binary)}, tmp_path) == binary


def test_a_variable_that_is_wrong_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(BinaryMissingError, match="nowhere is not an executable file"):
        find_opencode({"DX_TEST_OPENCODE": "/nowhere"}, tmp_path)


@pytest.mark.usefixtures("linux_x64")
def test_the_plain_build_is_preferred_to_the_baseline(tmp_path: Path) -> None:
    baseline = _install(tmp_path, "opencode-linux-x64-baseline", pinned_version())
    assert find_opencode({"PATH": ""}, tmp_path) == baseline
    plain = _install(tmp_path, "opencode-linux-x64", pinned_version())
    assert find_opencode({"PATH": ""}, tmp_path) == plain


@pytest.mark.usefixtures("linux_x64")
def test_an_old_installation_is_passed_over(tmp_path: Path) -> None:
    _install(tmp_path, "opencode-linux-x64", "1.0.0")
    with pytest.raises(BinaryMissingError, match="make setup"):
        find_opencode({"PATH": ""}, tmp_path)


def test_one_on_the_path_must_be_of_the_pinned_version(tmp_path: Path) -> None:
    binary = _executable(tmp_path / "bin" / "opencode", f"#!/bin/sh\necho {pinned_version()}\n")
    environ = {"PATH": str(binary.parent)}
    assert find_opencode(environ, tmp_path) == binary
    _executable(binary, "#!/bin/sh\necho 0.9\n")
    with pytest.raises(BinaryMissingError):
        find_opencode(environ, tmp_path)


def test_the_lock_file_names_the_pinned_version_for_every_platform_and_no_registry() -> None:
    import tests.lab

    text = (Path(tests.lab.__file__).parent / "npm" / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    main = packages["node_modules/opencode-ai"]
    assert main["version"] == pinned_version()
    for name, version in main["optionalDependencies"].items():
        assert packages[f"node_modules/{name}"]["version"] == version
    assert "resolved" not in text
    assert "://" not in text
