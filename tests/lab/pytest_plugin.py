# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: ``lab`` and ``workspace``, started for the session when the first test wants them; ``model`` and
``slack`` are the clean view of them that one test has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .lab import Lab
from .scripted_model import ScriptedModel
from .slack import SlackWorkspace

__all__ = ["lab", "model", "slack", "slack_lab", "ssh_lab", "workspace"]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The running fleet."""
    with Lab() as running:
        yield running


@pytest.fixture
def ssh_lab(lab: Lab) -> Lab:
    """The running fleet, if all of it but the local VM is reached by SSH."""
    if not lab.has_ssh:
        pytest.skip("needs OpenSSH's sshd, which this machine has not: apt-get install openssh-server")
    return lab


@pytest.fixture
def model(lab: Lab) -> ScriptedModel:
    """The lab's scripted model, with nothing recorded yet."""
    lab.model.clear()
    return lab.model


@pytest.fixture(scope="session")
def slack_lab() -> Iterator[Lab]:
    """A lab that is a Slack workspace alone: beside the fleet's, in which Slack is off."""
    with Lab(vms=(), slack=True) as running:
        yield running


@pytest.fixture(scope="session")
def workspace(slack_lab: Lab) -> SlackWorkspace:
    """The running Slack workspace."""
    return slack_lab.slack


@pytest.fixture
def slack(workspace: SlackWorkspace) -> Iterator[SlackWorkspace]:
    """The workspace with nothing written, recorded or spoiled yet; ``lab.env_with(slack)`` makes a child use it."""
    workspace.clear()
    yield workspace
    # A test that fails may leave a caller waiting for an answer.
    workspace.clear()
