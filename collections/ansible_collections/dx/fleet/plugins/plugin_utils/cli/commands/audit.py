# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet audit``: what was recorded for Slack, and delivering it now."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...audit.facts.wording import words_of
from ...audit.store.outbox import Outbox, outbox_path
from ...audit.store.records import Counts, DeliveryState, Record
from ...config.slack import AuditConfig
from ...domain.errors import AuditError, ConfigError, UsageError
from ...domain.outcome import ExitCode
from ..command import Command
from ..options import Options, words
from ..parser import did_you_mean
from ..report import Report, warn

__all__ = ["COMMAND", "AuditOptions", "audit"]

FLUSH_ALL_S = 600.0
SHOWN_AFTER_FLUSH = 20

_MARKS = {
    DeliveryState.DELIVERED: " ",
    DeliveryState.PENDING: ".",
    DeliveryState.SENDING: "?",
    DeliveryState.PARKED: "!",
}


@dataclass(frozen=True)
class AuditOptions(Options):
    """Show what was recorded for Slack, deliver it, or drop what can't be delivered."""

    words: tuple[str, ...] = words(
        "show|flush|drop [ID]",
        help="show (default): what was recorded, of the dispatch or bead ID alone where it is given;"
        " flush: deliver now what is not delivered yet; drop: give up what Slack does not take, or all that"
        " waits for the channel, dispatch or bead ID",
        most=2,
        complete=lambda **_typed: _VERBS,
    )


def audit(options: AuditOptions) -> Report:
    """Do what the first word says.

    Raises:
        UsageError: It says nothing that there is.
        ConfigError: ``slack_unconfigured``.
        AuditError: The outbox can't be used.
    """
    verb, *named = options.words or ("show",)
    if verb not in _VERBS:
        raise UsageError(
            f"audit can't {verb!r}{did_you_mean(verb, _VERBS) or ': ' + ' or '.join(_VERBS)}",
            reason_code="usage",
            next_action="dx-fleet audit --help",
        )
    return _VERBS[verb](Outbox(outbox_path(os.environ)), named)


def _flush(outbox: Outbox, named: Sequence[str]) -> Report:
    if named:
        raise UsageError(
            f"audit flush delivers all, not {named[0]!r} alone",
            reason_code="usage",
            next_action="dx-fleet audit flush",
        )
    from ...audit.slack.deliverer import deliver_now

    before = outbox.counts()
    if before.pending or before.held:
        config = AuditConfig.for_delivery(os.environ)
        if not config.on:
            raise ConfigError(
                f"{before.pending + before.held} records wait to be posted to Slack, but {config.why_off}",
                reason_code="slack_unconfigured",
                next_action="export SLACK_BOT_TOKEN, then dx-fleet audit flush",
            )
        deliver_now(config, outbox, lambda line: warn(line, "dx-fleet"), timeout_s=FLUSH_ALL_S)
    after = outbox.counts()
    undelivered = outbox.undelivered()
    lines = [f"{after.delivered - before.delivered} delivered now; {_counted(after)}"]
    lines += map(_line, undelivered[:SHOWN_AFTER_FLUSH])
    code = ExitCode.FAILED if after.pending or after.held else ExitCode.DONE
    return Report(code, lines=lines, sections={"trail": _as_dict(outbox, after, undelivered)})


def _show(outbox: Outbox, named: Sequence[str]) -> Report:
    """The trail as it is on this machine, and what is not delivered yet."""
    name = named[0] if named else None
    records = outbox.trail(name)
    counts = _counts_of(records) if name else outbox.counts()
    if name and not records:
        raise AuditError(
            f"nothing is recorded of a dispatch or bead {name!r} in {outbox.path}",
            reason_code="unknown_dispatch",
            next_action="dx-fleet audit",
        )
    lines = [*map(_line, records), f"{outbox.path}: {_counted(counts)}"]
    lines += ["next: dx-fleet audit flush"] if counts.pending or counts.held else []
    return Report(ExitCode.DONE, lines=lines, sections={"trail": _as_dict(outbox, counts, records)})


def _drop(outbox: Outbox, named: Sequence[str]) -> Report:
    """Drop what will never be delivered: of a channel, dispatch or bead, or all that Slack does not take."""
    name = named[0] if named else None
    dropped = outbox.drop(name)
    if name and not dropped:
        raise AuditError(
            f"nothing waits to be delivered for a channel, dispatch or bead {name!r} in {outbox.path}",
            reason_code="nothing_to_drop",
            next_action="dx-fleet audit",
        )
    after = outbox.counts()
    lines = [*map(_line, dropped), f"{len(dropped)} dropped; {_counted(after)}"]
    return Report(ExitCode.DONE, lines=lines, sections={"trail": _as_dict(outbox, after, dropped)})


_VERBS: Mapping[str, Callable[[Outbox, Sequence[str]], Report]] = {
    "show": _show,
    "flush": _flush,
    "drop": _drop,
}


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
        "text": words_of(record.event),
        "progress": record.state.value,
        "attempts": record.attempts,
        "trouble": record.trouble,
    }


def _line(record: Record) -> str:
    when = f"{record.event.at.astimezone():%Y-%m-%d %H:%M:%S}"
    trouble = f"  ({record.trouble})" if record.trouble else ""
    return (
        f"{_MARKS[record.state]} {when}  {record.event.subject.dispatch}  {words_of(record.event)}{trouble}"
    )


def _counted(counts: Counts) -> str:
    return f"{counts.delivered} posted to Slack, {counts.pending} to be posted, {counts.held} held"


COMMAND = Command(AuditOptions, audit, "[show [ID] | flush | drop [ID]]")
