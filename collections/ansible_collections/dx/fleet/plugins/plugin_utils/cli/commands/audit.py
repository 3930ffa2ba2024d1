# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-dispatch --audit`` and ``--flush-audit``: what was recorded for Slack, and telling it now."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from ...audit.store.outbox import Outbox, outbox_path
from ...audit.store.records import Counts, DeliveryState, Record
from ...config.slack import AuditConfig
from ...domain.errors import AuditError, ConfigError
from ...domain.outcome import ExitCode
from ..document import document, encoded
from ..parser import Arguments
from ..terminal import printable

__all__ = ["flush_audit", "show_audit"]

FLUSH_ALL_S = 600.0

_MARKS = {
    DeliveryState.DELIVERED: " ",
    DeliveryState.PENDING: ".",
    DeliveryState.SENDING: "?",
    DeliveryState.PARKED: "!",
}


def flush_audit(arguments: Arguments) -> ExitCode:
    """``--flush-audit``: deliver all that waits in the outbox.

    Raises:
        ConfigError: ``slack_unconfigured``.
        AuditError: The outbox can't be used.
    """
    from ...audit.slack.deliverer import deliver_now

    outbox = Outbox(outbox_path(os.environ))
    before = outbox.counts()
    if before.pending or before.held:
        config = AuditConfig.for_delivery(os.environ)
        if not config.on:
            raise ConfigError(
                f"{before.pending + before.held} records wait to be told in Slack, but {config.why_off}",
                reason_code="slack_unconfigured",
                next_action="export SLACK_BOT_TOKEN, then dx-dispatch --flush-audit",
            )
        deliver_now(config, outbox, _warn, timeout_s=FLUSH_ALL_S)
    after = outbox.counts()
    code = ExitCode.FAILED if after.pending or after.held else ExitCode.DONE
    if arguments.json:
        print(encoded(document(code, trail=_as_dict(outbox, after, outbox.undelivered()))))
        return code
    _say(f"{after.delivered - before.delivered} delivered now; {_counted(after)}")
    for record in outbox.undelivered(20):
        _say(_line(record))
    return code


def show_audit(arguments: Arguments) -> ExitCode:
    """``--audit [DISPATCH|BEAD]``: the trail as it is on this machine, and what is not told yet.

    Raises:
        AuditError: The outbox can't be used.
    """
    outbox = Outbox(outbox_path(os.environ))
    name = arguments.words[0] if arguments.words else None
    records = outbox.trail(name)
    counts = _counts_of(records) if name else outbox.counts()
    if name and not records:
        raise AuditError(
            f"nothing is recorded of a dispatch or bead {name!r} in {outbox.path}",
            reason_code="unknown_dispatch",
            next_action="dx-dispatch --audit",
        )
    if arguments.json:
        print(encoded(document(ExitCode.DONE, trail=_as_dict(outbox, counts, records))))
        return ExitCode.DONE
    for record in records:
        _say(_line(record))
    _say(f"{outbox.path}: {_counted(counts)}")
    if counts.pending or counts.held:
        _say("next: dx-dispatch --flush-audit")
    return ExitCode.DONE


def _counts_of(records: Sequence[Record]) -> Counts:
    delivered = sum(record.state is DeliveryState.DELIVERED for record in records)
    held = sum(record.state is DeliveryState.PARKED for record in records)
    return Counts(delivered, len(records) - delivered - held, held)


def _as_dict(outbox: Outbox, counts: Counts, records: Sequence[Record]) -> dict[str, Any]:
    return {
        "outbox": str(outbox.path),
        **counts.as_dict(),
        "records": [_record(record) for record in records],
    }


def _record(record: Record) -> dict[str, Any]:
    subject = record.event.subject
    return {
        "id": record.id,
        "at": record.event.as_dict()["at"],
        "kind": record.event.kind.value,
        "dispatch": subject.dispatch,
        "vm": subject.vm,
        "session": subject.session,
        "bead": subject.bead,
        "text": record.event.text,
        "progress": record.state.value,
        "attempts": record.attempts,
        "trouble": record.trouble,
    }


def _line(record: Record) -> str:
    when = f"{record.event.at.astimezone():%Y-%m-%d %H:%M:%S}"
    trouble = f"  ({record.trouble})" if record.trouble else ""
    return f"{_MARKS[record.state]} {when}  {record.event.subject.dispatch}  {record.event.text}{trouble}"


def _counted(counts: Counts) -> str:
    return f"{counts.delivered} told in Slack, {counts.pending} to be told, {counts.held} held"


def _say(line: str) -> None:
    print(printable(line, sys.stdout))


def _warn(line: str) -> None:
    print(printable(f"dx-dispatch: {line}", sys.stderr), file=sys.stderr)
