# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one thing that the flow calls: a fact is kept, or a warning says why not. The flow continues."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from ...config.slack import AuditConfig
from ...domain.errors import AuditError
from ...text.redact import redact, redact_all, secrets_of
from ..facts.event import AuditEvent, Step
from .deliverer_process import start_deliverer
from .outbox import Outbox, outbox_path
from .records import Counts

__all__ = ["Recorder", "recorder_of"]

READ = 100_000  # characters of each text that are looked through for secrets
KEPT = 2000  # and those that are recorded: never a half of a secret


class Recorder:
    """Keeps events for Slack. Nothing here ever raises.

    Args:
        config: Without a channel and a token, nothing is kept.
        outbox: Where.
        warn: Called with one line where an event can't be kept, once for each reason.
        deliver: Called when there may be something to deliver.
    """

    def __init__(
        self,
        config: AuditConfig,
        outbox: Outbox,
        warn: Callable[[str], None],
        deliver: Callable[[], object] = lambda: None,
    ) -> None:
        self.config = config
        self.outbox = outbox
        self._warn = warn
        self._deliver = deliver
        self._warned: set[str] = set()

    def record(self, event: AuditEvent | None) -> bool:
        """Keep an event, without secrets; see :meth:`.outbox.Outbox.append`.

        Returns:
            True where it is a new fact and is kept.
        """
        if event is None or not self.config.on or self.config.channel is None:
            return False
        try:
            is_new = self.outbox.append(_without_secrets(event), self.config.channel)
            self._deliver()
            return is_new
        except AuditError as error:
            self._say(error.reason_code, f"{error.message}. Next: {error.next_action}")
        except Exception as error:  # an edge that must not die: whatever it is, the dispatch goes on
            self._say(type(error).__name__, f"{type(error).__name__}: {redact(str(error))[:200]}")
        return False

    def moved(self, step: Step) -> None:
        """Keep what an agent is doing now, without secrets, for the head of its thread."""
        if not self.config.on or self.config.channel is None:
            return
        try:
            words = redact(step.words, secrets_of(os.environ))[:KEPT]
            self.outbox.note_step(replace(step, words=words), self.config.channel)
            self._deliver()
        except AuditError as error:
            self._say(error.reason_code, f"{error.message}. Next: {error.next_action}")
        except Exception as error:  # an edge that must not die: whatever it is, the dispatch goes on
            self._say(type(error).__name__, f"{type(error).__name__}: {redact(str(error))[:200]}")

    def counts(self, dispatch: str) -> Counts | None:
        """How many of a dispatch's facts are posted; None where that can't be known, or nothing is kept."""
        if not self.config.on:
            return None
        try:
            return self.outbox.counts(redact(dispatch))
        except AuditError as error:
            self._say(error.reason_code, f"{error.message}. Next: {error.next_action}")
            return None

    def _say(self, reason: str, words: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            self._warn(f"not posted to Slack: {words}")


_recorders: dict[tuple[int, str | None], Recorder] = {}


def recorder_of(
    channel: str | None,
    warn: Callable[[str], None],
    users: Mapping[str, Collection[str]] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Recorder:
    """This process' recorder for a channel, as its environment says; it starts the deliverer.

    Args:
        channel: Of the endpoints file (the host variable ``slack_audit_channel``).
        warn: See :class:`Recorder`.
        users: Of the endpoints file (``slack_users``).
        environ: See :meth:`AuditConfig.read`; a recorder is made anew where that says another thing.
    """
    config = AuditConfig.read(environ, channel, users)
    key = (os.getpid(), channel)
    found = _recorders.get(key)
    if found is None or found.config != config or found.outbox.path != outbox_path(environ):
        outbox = Outbox(outbox_path(environ))
        deliver = partial(start_deliverer, config, outbox.path)
        found = _recorders[key] = Recorder(config, outbox, warn, deliver)
    return found


def _without_secrets(event: AuditEvent) -> AuditEvent:
    secrets = secrets_of(os.environ)
    subject: dict[str, Any] = {
        name: value if value is None else redact(value, secrets)
        for name, value in asdict(event.subject).items()
    }
    return replace(
        event,
        subject=replace(event.subject, **subject),
        fields=_bounded(redact_all(_bounded(event.fields, READ), secrets), KEPT),
        occurrence=redact(event.occurrence, secrets),
    )


def _bounded(value: Any, limit: int) -> Any:
    """JSON-ready data with every string in it cut to so many characters."""
    if isinstance(value, str):
        return value[:limit]
    if isinstance(value, Mapping):
        return {name: _bounded(inner, limit) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_bounded(inner, limit) for inner in value]
    return value
