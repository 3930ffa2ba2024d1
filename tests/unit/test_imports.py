# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports run one way: a lower folder never imports a higher one, and no modules import each other in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

COLLECTION = Path(__file__).resolve().parents[2] / "collections/ansible_collections/dx/fleet"
NAMESPACE = ("ansible_collections", "dx", "fleet")

BOTTOM_TO_TOP = (
    "doc_fragments",
    "module_utils",
    "module_utils/beads",
    "module_utils/git",
    "module_utils/verify",
    "modules",
    "plugin_utils/text",
    "plugin_utils/domain",
    "plugin_utils/config",
    "plugin_utils/opencode",
    "plugin_utils/dispatch",
    "plugin_utils/sessions",
    "plugin_utils/beads",
    "plugin_utils/audit",
    "plugin_utils/audit/facts",
    "plugin_utils/audit/store",
    "plugin_utils/audit/slack",
    "plugin_utils/ansible_edge",
    "plugin_utils/launch",
    "plugin_utils/listener",
    "plugin_utils/mcp",
    "plugin_utils/fleet_test",
    "plugin_utils/cli",
    "connection",
    "inventory",
    "filter",
    "lookup",
    "action",
    "callback",
)
"""Folders of the plugins. One that is not in the list belongs to the folder above it, as ``cli/commands`` to ``cli``."""

LOADED_BY_NAME = (
    "modules",
    "connection",
    "inventory",
    "filter",
    "lookup",
    "action",
    "callback",
    "doc_fragments",
)
"""Ansible loads these; no code of ours imports them."""


class Imports:
    """What each module below ``root`` imports of the others; a module is its path from there, without suffix."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.of = {self._name(path): set(self._imported(path)) for path in sorted(root.rglob("*.py"))}

    def upward(self) -> list[str]:
        """The imports of a higher folder, as ``module -> module``."""
        return [
            f"{module} -> {imported}"
            for module, all_imported in self.of.items()
            for imported in sorted(all_imported)
            if _is_upward(module, imported)
        ]

    def circle(self) -> list[str]:
        """Modules that import each other in a circle; empty where none do."""
        try:
            TopologicalSorter(self.of).prepare()
        except CycleError as error:
            return list(error.args[1])
        return []

    def _name(self, path: Path) -> str:
        inside = path.relative_to(self._root).with_suffix("")
        return str(inside.parent if inside.name == "__init__" else inside)

    def _imported(self, path: Path) -> Iterator[str]:
        package = (*NAMESPACE, "plugins", *path.relative_to(self._root).parent.parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for each in node.names:
                    yield from self._module(tuple(each.name.split(".")))
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else ()
                source = (*above, *(node.module or "").split(".")) if node.module else above
                for each in node.names:
                    yield from self._module((*source, each.name))

    def _module(self, parts: tuple[str, ...]) -> Iterator[str]:
        """The module of the collection that a dotted name is, or is in."""
        if parts[:4] != (*NAMESPACE, "plugins"):
            return
        inside = Path(*parts[4:])
        for candidate in (inside, inside.parent):
            if (self._root / candidate).with_suffix(".py").is_file() or (
                self._root / candidate / "__init__.py"
            ).is_file():
                yield str(candidate)
                return
        raise AssertionError(f"no module {'.'.join(parts)}")


def _rank(module: str) -> int | None:
    """The height of a module's folder; None where the list has none."""
    folders = (str(path) for path in (Path(module), *Path(module).parents))
    return next((BOTTOM_TO_TOP.index(folder) for folder in folders if folder in BOTTOM_TO_TOP), None)


def _is_upward(module: str, imported: str) -> bool:
    height, other = _rank(module), _rank(imported)
    return height is None or other is None or other > height or imported.split("/")[0] in LOADED_BY_NAME


@pytest.fixture(scope="module")
def plugins() -> Imports:
    return Imports(COLLECTION / "plugins")


def test_every_folder_has_its_height(plugins: Imports) -> None:
    assert [module for module in plugins.of if _rank(module) is None] == []


def test_no_folder_imports_a_higher_one(plugins: Imports) -> None:
    assert plugins.upward() == []


def test_no_modules_import_each_other_in_a_circle(plugins: Imports) -> None:
    assert plugins.circle() == []


@pytest.mark.parametrize(
    "line",
    [
        "from ..cli import parser",
        "from ..cli.parser import Arguments",
        "def late():\n    from ..cli import parser",
        "if TYPE_CHECKING:\n    from ..cli import parser",
        "import ansible_collections.dx.fleet.plugins.plugin_utils.cli.parser",
        "from ansible_collections.dx.fleet.plugins.plugin_utils.cli import parser",
        "from ...modules import beads_info",
    ],
)
def test_an_import_upward_is_seen_wherever_it_stands(line: str, tmp_path: Path) -> None:
    for name in ("plugin_utils/domain/task", "plugin_utils/cli/parser", "modules/beads_info"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "plugin_utils/domain/task.py").write_text(line)
    (upward,) = Imports(tmp_path).upward()
    assert upward.startswith("plugin_utils/domain/task -> ")


def test_a_circle_within_a_folder_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "plugin_utils/domain"
    folder.mkdir(parents=True)
    (folder / "task.py").write_text("from .errors import UsageError")
    (folder / "errors.py").write_text("def words():\n    from . import task")
    assert set(Imports(tmp_path).circle()) == {"plugin_utils/domain/task", "plugin_utils/domain/errors"}
