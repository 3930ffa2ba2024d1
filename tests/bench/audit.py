# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What telling dispatches in Slack costs them: where Slack hangs, and for each fact that is kept."""

from __future__ import annotations

import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import (
    BEFORE_A_STEP,
    Outbox,
    outbox_path,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.recorder import Recorder
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.records import Counts
from ansible_collections.dx.fleet.plugins.plugin_utils.config.slack import AuditConfig
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State

from tests.lab import Lab

from .figure import Figure, Setting
from .processes import Run, median, paired

__all__ = ["hanging_slack", "recording"]

TASK = "Fix the linting of the package, then run make test and commit what you changed. " * 5
TOKEN = "xoxb-" + "0" * 24
DISPATCHES = 200


def hanging_slack(setting: Setting) -> list[Figure]:
    """A trivial task while no call of Slack is answered: against a Slack that answers, and against no audit."""
    rounds = max(setting.rounds, 20)  # runs differ by more than the limit
    with (
        tempfile.TemporaryDirectory() as state,
        tempfile.TemporaryDirectory() as other_state,
        _silent() as url,
        Lab(vms=(), slack=True) as workspace,
    ):
        silent = {**_slack(url), "XDG_STATE_HOME": state}
        well = {"SLACK_AUDIT": "true", **workspace.slack.env, "XDG_STATE_HOME": other_state}
        hanging, answered, off = paired(
            rounds,
            lambda: setting.dispatch("epyc6", "affordabot", "Say hello", **silent),
            lambda: setting.dispatch("epyc6", "affordabot", "Say hello", **well),
            lambda: setting.dispatch("epyc6", "affordabot", "Say hello", SLACK_AUDIT="false"),
        )
        facts = 3 * (rounds + 1)  # of each dispatch, and a warm-up
        if (kept := _counts(state)) != Counts(0, facts, 0):
            raise RuntimeError(f"{kept} of {facts} facts, while Slack hangs")
        if (kept := _counts(other_state)) != Counts(facts, 0, 0):
            raise RuntimeError(f"{kept} of {facts} facts, while Slack answers")
    return [
        _added("Slack hangs, against a Slack that answers", hanging, answered),
        _added("Slack hangs, against no audit", hanging, off),
    ]


def _counts(state: str) -> Counts:
    return Outbox(outbox_path({"XDG_STATE_HOME": state})).counts()


def _added(name: str, runs: Sequence[Run], others: Sequence[Run]) -> Figure:
    return Figure(
        name,
        statistics.median(run.wall_s - other.wall_s for run, other in zip(runs, others, strict=True)) * 1000,
        50,
        "ms",
        f"median of {len(runs)} pairs; medians {median(runs, 'wall_s'):.2f} s / {median(others, 'wall_s'):.2f} s,"
        f" CPU {median(runs, 'cpu_s'):.2f} s / {median(others, 'cpu_s'):.2f} s",
    )


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
    outcome = Outcome(State.COMPLETED, "completed", "the agent wrote: tests passed", vm="epyc6")
    ended = kinds.ended(outcome, subject)
    assert ended is not None
    return [
        kinds.claimed(subject),
        kinds.dispatching(subject, TASK),
        kinds.session_created(subject),
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
