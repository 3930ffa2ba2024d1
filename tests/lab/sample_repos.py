# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repositories that the lab's VMs work on: a bare remote each, and a clone in every VM's home."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["REPOS", "clone", "git_environment", "make_remotes"]

_MAKEFILE = """\
# `make test BREAK=1`, or a file BREAK here, makes a test fail.
.PHONY: test lint slow

test:
\t@python3 -m unittest discover -s tests

lint:
\t@python3 -m compileall -q {package} tests && echo lint passed

slow:
\t@sleep 5 && echo slow passed
"""

_INIT = '''\
"""{title}"""


def {function}(amounts):
    """{doc}"""
    return {expression}
'''

_TEST = """\
import os
import unittest
from pathlib import Path

from {package} import {function}

BROKEN = "BREAK" in os.environ or Path("BREAK").exists()


class {cls}Test(unittest.TestCase):
    def test_of_nothing(self):
        self.assertEqual({function}([]), 0)

    def test_of_some(self):
        self.assertEqual({function}([1, 2, 3]), {some})

    def test_that_can_be_broken(self):
        self.assertFalse(BROKEN, "BREAK is set")


if __name__ == "__main__":
    unittest.main()
"""


def _python_project(
    package: str, title: str, function: str, doc: str, expression: str, some: int
) -> dict[str, str]:
    words = {
        "package": package, "title": title, "function": function, "doc": doc, "expression": expression,
        "some": some, "cls": package.title(),
    }  # fmt: skip
    return {
        "README.md": f"# {package}\n\n{title}\n",
        "Makefile": _MAKEFILE.format(**words),
        ".gitignore": "__pycache__/\n",
        f"{package}/__init__.py": _INIT.format(**words),
        "tests/__init__.py": "",
        f"tests/test_{package}.py": _TEST.format(**words),
    }


REPOS: Mapping[str, Mapping[str, str]] = {
    "affordabot": _python_project(
        "affordabot", "Says what is affordable.", "total", "The sum of amounts.", "sum(amounts)", 6
    ),
    "prime-radiant": _python_project(
        "radiant",
        "Reads the future in numbers.",
        "largest",
        "The largest amount.",
        "max(amounts, default=0)",
        3,
    ),
}
"""Repository name -> path -> content. Same content, hence same commit, in every lab."""

_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Lab"), ("EMAIL", "lab@example.invalid"), ("DATE", "2026-01-04T12:00:00Z"))
}

_GITCONFIG = """\
[user]
\tname = {name}
\temail = {name}@example.invalid
[init]
\tdefaultBranch = main
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""


def git_environment(home: Path) -> dict[str, str]:
    """An environment in which git reads nothing but that home, and never asks."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


def make_remotes(directory: Path) -> dict[str, Path]:
    """Make a bare remote with one commit per sample repository; returns name -> path."""
    return {name: _make_remote(directory, name, files) for name, files in REPOS.items()}


def clone(remotes: Mapping[str, Path], home: Path, who: str) -> None:
    """Clone each remote into ``home``/name, with a git identity of ``who`` in that home."""
    (home / ".gitconfig").write_text(_GITCONFIG.format(name=who))
    for name, remote in remotes.items():
        _git(home, "clone", "--quiet", str(remote), str(home / name), environment=git_environment(home))


def _make_remote(directory: Path, name: str, files: Mapping[str, str]) -> Path:
    work, remote = directory / f"{name}.work", directory / f"{name}.git"
    for path, content in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(content)
    environment = git_environment(directory) | _IDENTITY
    _git(work, "init", "--quiet", "--initial-branch=main", environment=environment)
    _git(work, "add", "--all", environment=environment)
    _git(work, "commit", "--quiet", "--message", "First version", environment=environment)
    _git(work, "clone", "--quiet", "--bare", str(work), str(remote), environment=environment)
    return remote


def _git(directory: Path, *arguments: str, environment: Mapping[str, str]) -> None:
    subprocess.run(["git", *arguments], cwd=directory, env=dict(environment), check=True, capture_output=True)
