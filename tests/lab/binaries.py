# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the OpenCode server that the lab runs."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["CHECKOUT", "BinaryMissingError", "find_oldest_opencode", "find_opencode", "pinned_version"]

CHECKOUT = Path(__file__).resolve().parents[2]
NEWEST = "npm"
OLDEST = "npm-oldest"


class BinaryMissingError(RuntimeError):
    """There is no OpenCode of the pinned version; the text says how to get it."""


def pinned_version(folder: str = NEWEST) -> str:
    """The version of OpenCode that the lab is made for, or the oldest that gets tasks."""
    package = json.loads((Path(__file__).parent / folder / "package.json").read_text())
    return str(package["dependencies"]["opencode-ai"])


def find_opencode(environ: Mapping[str, str] = os.environ, checkout: Path = CHECKOUT) -> Path:
    """``$DX_TEST_OPENCODE``, else the one that ``make setup`` installed, else a fitting one on the PATH.

    Raises:
        BinaryMissingError: there is none.
    """
    chosen = environ.get("DX_TEST_OPENCODE")
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise BinaryMissingError(f"DX_TEST_OPENCODE={chosen} is not an executable file")
        return Path(chosen)
    wanted = pinned_version()
    for binary in _installed(checkout / ".tools" / "npm" / "node_modules", wanted):
        return binary
    on_path = shutil.which("opencode", path=environ.get("PATH"))
    if on_path and _version_of(on_path) == wanted:
        return Path(on_path)
    raise BinaryMissingError(
        f"no OpenCode {wanted} here: run `make setup`, or set DX_TEST_OPENCODE to its binary"
    )


def find_oldest_opencode(checkout: Path = CHECKOUT) -> Path:
    """The one that ``make test-oldest-opencode`` installed.

    Raises:
        BinaryMissingError: there is none.
    """
    wanted = pinned_version(OLDEST)
    for binary in _installed(checkout / ".tools" / OLDEST / "node_modules", wanted):
        return binary
    raise BinaryMissingError(f"no OpenCode {wanted} here: run `make test-oldest-opencode`")


def _installed(modules: Path, wanted: str) -> Iterator[Path]:
    """The platform packages of npm's opencode-ai, the best first; each holds one stand-alone binary."""
    for name in _package_names():
        binary = modules / name / "bin" / "opencode"
        if os.access(binary, os.X_OK) and _package_version(modules / name) == wanted:
            yield binary


def _package_names() -> list[str]:
    system = platform.system().lower()
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine()
    )
    libc = "" if system != "linux" or platform.libc_ver()[0] == "glibc" else "-musl"
    name = f"opencode-{system}-{machine}"
    plain, baseline = f"{name}{libc}", f"{name}-baseline{libc}"
    return [plain, baseline] if _has_avx2() else [baseline, plain]


def _has_avx2() -> bool:
    """The plain x64 builds die by SIGILL without it; elsewhere there is nothing to find out."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    return platform.machine() != "x86_64" or "avx2" in flags


def _package_version(package: Path) -> str | None:
    try:
        version = json.loads((package / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):
        return None
    return str(version)


def _version_of(binary: str) -> str | None:
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


if __name__ == "__main__":
    print(find_oldest_opencode())
