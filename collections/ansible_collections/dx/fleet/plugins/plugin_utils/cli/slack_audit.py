# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slack audit of a run of dx-dispatch: switched on and off, and counted."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..config.slack import AuditConfig
from ..domain.fleet import Fleet
from ..domain.outcome import Outcome
from .dispatch_options import DispatchOptions
from .report import warn

__all__ = ["CALLBACK", "Audit"]

CALLBACK = "dx.fleet.slack_audit"


class Audit:
    """Whether a run is posted to Slack, and where. The environment then has it, for the run's workers."""

    def __init__(self, options: DispatchOptions, fleet: Fleet) -> None:
        if options.slack is not None:
            os.environ["SLACK_AUDIT"] = "true" if options.slack else "false"
        self._config = AuditConfig.read(os.environ, fleet.slack_audit_channel, fleet.slack_users)
        if self._config.on and self._config.channel:
            os.environ["SLACK_AUDIT_CHANNEL"] = self._config.channel
        elif self._config.wanted or "DX_SLACK_API_URL" in (self._config.why_off or ""):
            _warn(f"not posted to Slack: {self._config.why_off}; see docs/slack.md")
        self._on = self._config.on and not options.dry_run

    @property
    def callbacks(self) -> tuple[str, ...]:
        """The callbacks that the run needs for it."""
        return (CALLBACK,) if self._on else ()

    def counted(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes, each with how much of it is posted."""
        if not self._on:
            return list(outcomes)
        from ..audit.store.recorder import recorder_of

        recorder = recorder_of(self._config.channel, _warn)
        found = [recorder.counts(outcome.dispatch) if outcome.dispatch else None for outcome in outcomes]
        return [
            outcome if counts is None else outcome.with_(audit=counts.as_dict())
            for outcome, counts in zip(outcomes, found, strict=True)
        ]


def _warn(line: str) -> None:
    warn(line, "dx-dispatch")
