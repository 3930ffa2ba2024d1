# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``--json`` prints is what its published schema says, of real dispatches too.

The document of a question is checked in test_places.py, those of a permission and of a failure in test_mcp.py.
"""

from __future__ import annotations

import json

import jsonschema
import pytest

from tests import schemas
from tests.lab import ScriptedModel

from .fleet import Fleet, fresh_id

SCHEMA = json.loads((schemas.DIRECTORY / "dispatch-result.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("command", ["list", "status"])
def test_a_look_at_the_fleet(fleet: Fleet, command: str) -> None:
    VALIDATOR.validate(fleet.look(command).document())


def test_a_dispatch_at_each_stage(fleet: Fleet) -> None:
    words = ("--all", "--id", fresh_id(), fleet.repo, "Say in one word that you are there")
    for options in (("--dry-run",), ("--no-wait",), ()):
        document = fleet.dispatch(*options, *words).document()
        VALIDATOR.validate(document)
        assert {result["vm"] for result in document["results"]} == set(fleet.servers)


def test_an_outcome_with_all_its_evidence(fleet: Fleet, model: ScriptedModel) -> None:
    VALIDATOR.validate(fleet.dispatch(fleet.repo, "@bash exit 3").document())
