# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test proves does not depend on how the suite was started."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_what_a_test_starts_can_be_ended(number: signal.Signals) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        child.send_signal(number)
        assert child.wait(timeout=30) == -number


def test_it_can_be_ended_where_the_suite_was_started_with_all_signals_ignored() -> None:
    node = f"{__file__}::{test_what_a_test_starts_can_be_ended.__name__}"
    suite = f"trap '' INT HUP TERM; exec {sys.executable} -m pytest -q -p no:cacheprovider '{node}'"
    done = subprocess.run(
        ["bash", "-c", suite], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
