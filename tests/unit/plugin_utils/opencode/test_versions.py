# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions get tasks, and that whatever names them names the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.doc_fragments.connection import ModuleDocFragment
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.versions import (
    NEWEST_TESTED,
    OLDEST,
    is_newer_than_tested,
    is_supported,
)

from tests.lab.binaries import pinned_version

README = Path(__file__).resolve().parents[4] / "README.md"
NEEDED = f"OpenCode {OLDEST} or a later 1.x"
TESTED = f"tested with {OLDEST} to {NEWEST_TESTED}"


@pytest.mark.parametrize(
    ("version", "supported", "newer"),
    [
        ("1.18.14", False, False),
        ("1.18.15", True, False),
        ("1.18.33", True, False),
        ("v1.18.20", True, False),
        ("1.18.20-beta.1", True, False),
        ("1.18.34", True, True),
        ("1.19.0", True, True),
        ("1.9.99", False, False),
        ("0.18.20", False, False),
        ("2.0.0", False, True),
        ("1.18", False, False),
        ("1.18.20.1", False, False),
        ("1.18.x", False, False),
        ("local", False, False),
        ("", False, False),
        ("1.18." + "9" * 5000, False, False),
    ],
)
def test_a_version_is_supported_and_tested_or_not(version: str, supported: bool, newer: bool) -> None:
    assert is_supported(version) is supported
    assert is_newer_than_tested(version) is newer


def test_the_lab_runs_the_versions_that_are_called_tested() -> None:
    assert pinned_version() == NEWEST_TESTED
    assert pinned_version("npm-oldest") == OLDEST


@pytest.mark.parametrize("words", [NEEDED, TESTED])
def test_the_documentation_names_the_same_versions(words: str) -> None:
    assert words in " ".join(README.read_text().split())
    assert words in ModuleDocFragment.DOCUMENTATION
