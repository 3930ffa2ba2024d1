# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What telling dispatches in Slack costs them: where Slack hangs, and for each fact that is kept."""

from __future__ import annotations

import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ansible_collections.dx.fleet.plugins.plugin_utils.audit import wording
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.config import AuditConfig
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.event import AuditEvent, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.outbox import BEFORE_A_STEP, Outbox, outbox_path
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.recorder import Recorder
from ansible_collections.dx.fleet.plugins.plugin_utils.outcome import Outcome, State

from .figure import Figure, Setting
from .processes import median, paired

__all__ = ["hanging_slack", "recording"]

TASK = "Fix the linting of the package, then run make test and commit what you changed. " * 5
TOKEN = "xoxb-" + "0" * 24
DISPATCHES = 200


def hanging_slack(setting: Setting) -> list[Figure]:
    """A trivial task while no call of Slack is answered, against the same with the audit off."""
    rounds = max(setting.rounds, 10)
    with tempfile.TemporaryDirectory() as state, _silent() as url:
        told = {**_slack(url), "XDG_STATE_HOME": state}
        hanging, off = paired(
            rounds,
            lambda: setting.dispatch("epyc6", "affordabot", "Say hello", **told),
            lambda: setting.dispatch("epyc6", "affordabot", "Say hello", SLACK_AUDIT="false"),
        )
        kept = Outbox(outbox_path({"XDG_STATE_HOME": state})).counts()
    if kept.pending != 3 * (rounds + 1):
        raise RuntimeError(f"{kept} records of {rounds + 1} dispatches that tell three facts each")
    added = [one.wall_s - other.wall_s for one, other in zip(hanging, off, strict=True)]
    return [
        Figure(
            "Slack hangs, against no audit",
            statistics.median(added) * 1000,
            50,
            "ms",
            f"median of {rounds} pairs; medians {median(hanging, 'wall_s'):.2f} s / {median(off, 'wall_s'):.2f} s,"
            f" CPU {median(hanging, 'cpu_s'):.2f} s / {median(off, 'cpu_s'):.2f} s",
        )
    ]


def recording(_: Setting) -> list[Figure]:
    """To keep one fact. What tells of a step to come is on the disk, which is a matter of that disk."""
    plain: list[float] = []
    durable: list[float] = []
    with tempfile.TemporaryDirectory() as state:
        environ = {**_slack("https://slack.com/api/"), "XDG_STATE_HOME": state}
        warned: list[str] = []
        recorder = Recorder(AuditConfig.read(environ), Outbox(outbox_path(environ)), warned.append)
        for number in range(DISPATCHES):
            for event in _story(f"bd-{number}@1"):
                began = time.perf_counter()
                kept = recorder.record(event)
                took = time.perf_counter() - began
                if not kept:
                    raise RuntimeError(f"not kept: {warned}")
                (durable if event.kind in BEFORE_A_STEP else plain).append(took)
    return [
        Figure(
            "recording a fact",
            statistics.median([*plain, *durable]) * 1000,
            1,
            "ms",
            f"median of {len(plain) + len(durable)}; {statistics.median(durable) * 1000:.2f} ms for the half"
            " that is on the disk before a step",
        )
    ]


def _story(dispatch: str) -> list[AuditEvent]:
    subject = Subject(
        dispatch,
        "epyc6",
        "affordabot",
        dispatch.partition("@")[0],
        f"ses_dx-{dispatch}",
        "claude-code@macmini",
    )
    outcome = Outcome(State.COMPLETED, "completed", "epyc6: the agent finished: tests passed", vm="epyc6")
    ended = wording.ended(outcome, subject)
    assert ended is not None
    return [
        wording.claimed(subject),
        wording.dispatching(subject, TASK),
        wording.session_created(subject),
        ended,
    ]


def _slack(url: str) -> Mapping[str, str]:
    return {
        "SLACK_AUDIT": "true",
        "SLACK_BOT_TOKEN": TOKEN,
        "SLACK_AUDIT_CHANNEL": "C0BENCH",
        "DX_SLACK_API_URL": url,
        "NO_PROXY": "*",
    }


@contextmanager
def _silent() -> Iterator[str]:
    """A server that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/"
