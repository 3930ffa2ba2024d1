# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make demo`` runs to its end, and shows what it promises."""

from __future__ import annotations

import subprocess
import sys

from tests.lab.binaries import CHECKOUT

IN_ORDER = (
    "$ dx-fleet list",
    "$ dx-dispatch --all affordabot 'Run make test'",
    "$ dx-fleet listen &",
    "jane in Slack: @dx-fleet Stop the epyc6 task, they're on wrong branch",
    "proven",
    "Stopped. What next?\n",
    "jane in Slack, in the thread: Switch to feature-xyz branch and retry",
    "on branch feature-xyz",
    "] Verified: ",
    "What Slack shows of it:",
)


def test_the_demo_shows_the_users_two_sentences_end_to_end() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab.demo"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rest = done.stdout
    for words in IN_ORDER:
        before, found, rest = rest.partition(words)
        assert found, f"no {words!r} after what came before in:\n{before}"
    assert "NOT PROVEN" not in done.stdout
