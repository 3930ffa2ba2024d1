# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's tracker: a Beads workspace, and the `bd` that works in it.

`bd` is the real one of ``DX_TEST_BD`` or PATH; where there is none it is the stand-in, which says so itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["STANDIN", "Tracker", "bd_in_use", "real_bd"]

STANDIN = Path(__file__).resolve().with_name("standin_bd.py")

# By this Python, whatever python3 on PATH is; imported, so that its byte code is kept. A run starts it 3,000 times.
_STANDIN_BD = """#!{python} -IS
import sys
sys.path.append({folder!r})
import standin_bd
sys.exit(standin_bd.main())
"""


def real_bd() -> str | None:
    """The real `bd` of this machine."""
    return os.environ.get("DX_TEST_BD") or shutil.which("bd")


def bd_in_use() -> str:
    """Which `bd` the tests use, with its version, for a person."""
    real = real_bd()
    executable = [real] if real is not None else [sys.executable, str(STANDIN)]
    try:
        done = subprocess.run(
            [*executable, "version", "--json"], capture_output=True, text=True, timeout=30, check=True
        )
        version = str(json.loads(done.stdout)["version"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        version = f"can't be asked ({error})"
    return f"bd: {version} ({'real' if real is not None else 'a stand-in: DX_TEST_BD names none'})"


@dataclass(frozen=True)
class Tracker:
    """A workspace in ``folder``, with ``bd`` in its ``bin`` folder. It works as any person's shell would."""

    folder: Path
    is_real: bool

    @classmethod
    def make(cls, folder: Path, executable: str | None = None) -> Tracker:
        """A fresh workspace.

        Args:
            folder: Where; it is made.
            executable: `bd`; default: the real one, else the stand-in.
        """
        chosen = executable or real_bd() or str(STANDIN)
        (folder / "bin").mkdir(parents=True)
        tracker = cls(folder, is_real=Path(chosen).resolve() != STANDIN)
        bd = folder / "bin" / "bd"
        if tracker.is_real:
            bd.symlink_to(Path(chosen).resolve())
        else:
            bd.write_text(_STANDIN_BD.format(python=sys.executable, folder=str(STANDIN.parent)))
            bd.chmod(0o755)
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        words = ["init", "-q", "--non-interactive", "--prefix", "aff", "--skip-hooks", "--skip-agents"]
        tracker.bd(*words)
        return tracker

    @property
    def env(self) -> dict[str, str]:
        """What to add to the environment of a child that uses this workspace."""
        path = os.pathsep.join((str(self.folder / "bin"), os.environ.get("PATH", "")))
        return {"PATH": path, "BEADS_DIR": str(self.folder / ".beads")}

    def bd(self, *words: str) -> str:
        """Standard output of one call that succeeds."""
        done = subprocess.run(
            [str(self.folder / "bin" / "bd"), *words],
            cwd=self.folder,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"bd {' '.join(words)[:200]}: {done.stdout}{done.stderr}")
        return done.stdout

    def create(self, title: str = "Fix linting", description: str = "") -> str:
        """The id of a new bead."""
        return str(json.loads(self.bd("create", title, f"--description={description}", "--json"))["id"])

    def show(self, bead: str) -> dict[str, Any]:
        """A bead as `bd` tells it."""
        (found,) = json.loads(self.bd("show", bead, "--json"))
        assert found["id"] == bead
        return dict(found)

    def status(self, bead: str) -> str:
        """Its status."""
        return str(self.show(bead)["status"])

    def metadata(self, bead: str) -> dict[str, Any]:
        """Its metadata."""
        return dict(self.show(bead).get("metadata", {}))
