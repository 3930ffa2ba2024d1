# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the changed files belong to the tests, and which to the check itself.

The check itself is what the verify command runs: a script, a Makefile, the scripts of package.json, and what
such a file runs; a module of the worktree that stands in a runner's place; how pytest is set up. Work that
changes these is checked with what it made itself.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import typing as t

__all__ = ["check_files", "is_test_file"]

_TEST_FOLDER = re.compile(r"(?:^|/)(?:tests?|__tests__|specs?|testing|testdata|e2e|cypress)/", re.IGNORECASE)
_TEST_NAME = re.compile(
    r"^(?:test_.*|.*_test\.\w+|.*\.(?:test|spec)\.\w+|.*_spec\.\w+|.*Tests?\.(?:java|kt|cs|swift|scala)|conftest\.py)$"
)
_TOOLS: t.Mapping[str, t.Sequence[str]] = {
    "make": ("Makefile", "makefile", "GNUmakefile"),
    "gmake": ("Makefile", "makefile", "GNUmakefile"),
    "just": ("justfile", "Justfile", ".justfile"),
    "task": ("Taskfile.yml", "Taskfile.yaml"),
    "tox": ("tox.ini",),
    "nox": ("noxfile.py",),
    "rake": ("Rakefile",),
    "invoke": ("tasks.py",),
    "ant": ("build.xml",),
    "npm": ("package.json",),
    "pnpm": ("package.json",),
    "yarn": ("package.json",),
    "bun": ("package.json",),
}
_SCRIPT = re.compile(
    r"\.(?:sh|bash|zsh|mk|mak)$|(?:^|/)(?:Makefile|makefile|GNUmakefile|justfile|Taskfile\.ya?ml)$"
)
_INTERPRETER = re.compile(
    r"^(?:python[\d.]*|node|ruby|perl|php|bash|sh|zsh|source|\.|exec|env|time|nice|timeout|sudo)$"
)
_ENDS_COMMAND = re.compile(r"[;&|()\n{}`]+")

Read = t.Callable[[str], t.Optional[str]]


def is_test_file(path: str) -> bool:
    """Whether a path is one of tests, by the customs of the common runners."""
    return bool(_TEST_FOLDER.search(path) or _TEST_NAME.match(os.path.basename(path)))


def check_files(command: str, changed: t.Iterable[str], before: Read, after: Read) -> list[str]:
    """The files of the check that the work changed.

    Args:
        command: The verify command.
        changed: All files that the work changed, relative to the worktree.
        before: Gives the text of a file as the work found it; None: it was not there.
        after: Gives it as the work left it.
    """
    paths = set(changed)
    found: set[str] = set()
    texts = [command]
    todo = list(_run_by(command))
    seen: set[str] = set()
    while todo:  # what a file of the check runs is the check's as well
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        if path in paths and (path != "package.json" or _scripts(before(path)) != _scripts(after(path))):
            found.add(path)
        text = before(path)
        if text is not None and (_SCRIPT.search(path) or text.startswith("#!") or path == "package.json"):
            texts.append(text)
            todo += [*_named_in(text), *_run_by(_commands_in(path, text))]
    found |= {path for text in texts for path in _in_place_of_a_module(text)} & paths
    if any("pytest" in text for text in texts):
        found |= {
            path for path in paths if _pytest_set_up(path, before(path)) != _pytest_set_up(path, after(path))
        }
    return sorted(found)


def _in_place_of_a_module(text: str) -> t.Iterator[str]:
    """Files that `python -m NAME` would run in the place of an installed module."""
    for name in re.findall(r"\bpython[\d.]*(?:\s+-\w+)*?\s+-m\s+([\w.]+)", text):
        top = name.split(".")[0]
        yield from (f"{top}.py", f"{top}/__init__.py", f"{top}/__main__.py")


def _pytest_set_up(path: str, text: str | None) -> object:
    """How a file sets up pytest: its settings, or the hooks of a conftest.py, but not its fixtures."""
    name = os.path.basename(path)
    if name == "conftest.py":
        return re.findall(r"^.*\bpytest_\w+.*(?:\n[ \t]+.*)*", text or "", re.MULTILINE)
    if name in ("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml"):
        return re.findall(r"^\[(?:tool[:.])?pytest[^\]]*\](?:\n(?!\[).*)*", text or "", re.MULTILINE)
    return None


def _run_by(command: str) -> t.Iterator[str]:
    """The files that a command runs, or that a tool reads which it runs."""
    for simple in _ENDS_COMMAND.split(command):
        words = [word.lstrip("@-+") if word[:1] == "@" else word for word in _words(simple)]
        words = [word for word in words if word and not re.match(r"\w+=", word)]
        for word in words:
            if word.startswith("-"):
                continue
            yield os.path.normpath(word)
            yield from _TOOLS.get(os.path.basename(word), ())
            if not _INTERPRETER.match(os.path.basename(word)) and not re.match(r"[\d.]+[smh]?$", word):
                break
        yield from (os.path.normpath(word) for word in words if _SCRIPT.search(word))


def _commands_in(path: str, text: str) -> str:
    """The shell's part of a file of the check."""
    if path != "package.json":
        return text
    scripts = _scripts(text)
    return "\n".join(map(str, scripts.values())) if isinstance(scripts, dict) else ""


def _named_in(text: str) -> t.Iterator[str]:
    """The scripts that a script, a makefile or package.json names."""
    for word in re.split(r"[\s;&|()<>=\"'`{},:@]+", text):
        if _SCRIPT.search(word):
            yield os.path.normpath(word)


def _words(text: str) -> list[str]:
    """The words that a shell makes of it."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _scripts(text: str | None) -> object:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return text
    return found.get("scripts") if isinstance(found, dict) else found
