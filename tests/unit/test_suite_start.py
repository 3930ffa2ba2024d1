# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test proves does not depend on how the suite was started."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_what_a_test_starts_can_be_interrupted() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == -signal.SIGINT


def test_it_can_be_interrupted_where_a_shell_started_the_suite_in_the_background() -> None:
    node = f"{__file__}::{test_what_a_test_starts_can_be_interrupted.__name__}"
    pytest = f"trap '' INT; exec {sys.executable} -m pytest -q -p no:cacheprovider '{node}'"
    done = subprocess.run(
        ["bash", "-c", pytest], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
