# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener: what people write in Slack becomes commands of ours, each with exactly one effect.

What is heard is kept, then acknowledged, then done; see :mod:`.inbox`. Several commands run at a time.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from slack_sdk.web.async_client import AsyncWebClient

from ..audit.facts.event import Subject
from ..audit.slack.errors import Held
from ..audit.store.outbox import Outbox
from ..config.listener import ListenerConfig
from ..domain.clock import SYSTEM_CLOCK, Clock
from ..domain.errors import AuditError
from ..domain.fleet import Fleet
from . import wording
from .acts import Act, Channel, Click, Ignored, Message, NativeStop, Slash, act_in
from .authority import may, verb_of
from .catch_up import missed, newest
from .clicks import command_of_click
from .connection import Connection
from .grammar import Answer, Command, Help, Stop, command_in
from .health import Health
from .inbox import Entry, Inbox
from .people import People
from .plan import Plan, Unclear, plan_of
from .replies import Replies
from .shown import ShownRequest, shown_requests
from .slack_faults import SLACK_FAULTS, fault_of, reason_of

__all__ = ["Listener"]

LOOK_EVERY_S = 1.0
AGAIN_S = (1.0, 2.0, 5.0)
SET_UP_AGAIN_S = 60.0
"""Where somebody must mend a token, a scope or the channel first."""

log = logging.getLogger("dx.fleet.listener")


class Commands(Protocol):
    """Runs commands of ours, each once, see :class:`~..launch.kept_command.KeptCommands`."""

    async def run(
        self, key: str, argv: Sequence[str], *, stdin: str | None = None, prints: bool = False
    ) -> Mapping[str, Any]: ...

    def forget(self, key: str) -> None: ...

    def forget_all_but(self, keys: Collection[str]) -> None: ...


class Listener:
    """Hears, decides and acts.

    Args:
        config: Tokens, channel, users.
        fleet: The VMs.
        inbox: What was heard.
        outbox: What is known of the dispatches, by their threads.
        web: The bot's client.
        health: Where it is written down how the listener is.
        commands: Runs our own commands.
        clock: Between two tries.
    """

    def __init__(
        self,
        config: ListenerConfig,
        fleet: Fleet,
        inbox: Inbox,
        outbox: Outbox,
        web: AsyncWebClient,
        health: Health,
        commands: Commands,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._inbox = inbox
        self._outbox = outbox
        self._web = web
        self._health = health
        self._commands = commands
        self._clock = clock
        self._replies = Replies(web, config.channel, clock)
        self._people = People(web)
        self._connection = Connection(web, config.app_token, self._hear, self._greet)
        self._channel: Channel | None = None
        self._ready = asyncio.Event()
        self._greeting: asyncio.Task[None] | None = None
        self._is_behind = False
        self._working: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Listen until this is cancelled.

        Raises:
            ConfigError: A token is refused.
            AuditError: The inbox can't be used.
        """
        unfinished = self._inbox.unfinished()
        self._commands.forget_all_but([entry.act.key for entry in unfinished])
        for entry in unfinished:
            self._begin(entry, again=True)
        beating = asyncio.create_task(self._beat())
        try:
            await self._connection.serve()
        finally:
            for task in (beating, *([self._greeting] if self._greeting else []), *self._working.values()):
                task.cancel()

    async def _beat(self) -> None:
        while True:
            self._health.beat(is_connected=self._connection.is_up)
            await self._clock.sleep(LOOK_EVERY_S)

    # --- hearing ---

    async def _greet(self, hello: Mapping[str, Any]) -> None:
        """From here on events come; what came before is read from the history, as soon as Slack lets us."""
        if self._greeting is not None:
            self._greeting.cancel()
        self._is_behind = True
        self._health.connected(int(hello.get("num_connections") or 1))
        self._greeting = asyncio.create_task(self._settle_in(hello))

    async def _settle_in(self, hello: Mapping[str, Any]) -> None:
        app = str((hello.get("connection_info") or {}).get("app_id") or "")
        warned = ""
        for pause_s in itertools.chain(AGAIN_S, itertools.repeat(AGAIN_S[-1])):
            try:
                me = await self._web.auth_test()
                self._channel = Channel(
                    id=self._config.channel, team=str(me["team_id"]), app=app, bot_user=str(me["user_id"])
                )
                self._ready.set()
                await self._catch_up(self._channel)
            except (AuditError, *SLACK_FAULTS) as error:
                reason = reason_of(error)
                if reason != warned:
                    log.warning("what was written meanwhile can't be read yet: %s", reason)
                warned = reason
                needs_a_person = isinstance(error, SLACK_FAULTS) and isinstance(fault_of(error), Held)
                await self._clock.sleep(SET_UP_AGAIN_S if needs_a_person else pause_s)
            else:
                return

    async def _catch_up(self, channel: Channel) -> None:
        mark = self._inbox.heard_until(channel.id)
        if mark is None:  # the first time: what was written before there was a listener is not for it
            self._inbox.begin_at(channel.id, await newest(self._web, channel))
            self._is_behind = False
            return
        threads = self._outbox.ledger.thread_roots(channel.id)
        heard = [act async for act in missed(self._web, channel, mark, threads)]
        log.info("connected; %d messages of people since the last ones were read", len(heard))
        self._is_behind = False
        for act in sorted(heard, key=lambda act: float(act.at)):
            self._keep(act)

    async def _hear(self, kind: str, payload: Mapping[str, Any]) -> str | None:
        await self._ready.wait()
        if self._channel is None:
            raise AssertionError
        act = act_in(kind, payload, self._channel)
        if isinstance(act, Ignored):
            log.debug("ignored: %s", act.why)
            return act.answer
        self._keep(act)
        return None

    def _keep(self, act: Act) -> None:
        """Keep what asks for something; the rest of what people write is not ours to keep."""
        asks = self._command_of(act) is not None or _speaks_to_us(act)
        if asks and self._inbox.keep(act):
            self._begin(Entry(act, 0.0), again=False)
        if isinstance(act, Message) and not self._is_behind:  # the mark is where the history is read from
            self._inbox.set_mark(self._config.channel, act.at)
        self._health.heard()

    # --- acting ---

    def _begin(self, entry: Entry, *, again: bool) -> None:
        task = asyncio.create_task(self._act(entry, again))
        self._working[entry.act.key] = task
        task.add_done_callback(lambda _: self._working.pop(entry.act.key, None))

    async def _act(self, entry: Entry, again: bool) -> None:
        act = entry.act
        try:
            effect = await self._effect_of(entry, again)
            self._inbox.finish(act.key, effect)
            self._commands.forget(act.key)
        except Exception:  # an edge that must not die: one act does not end the others
            log.exception("%s", act.key)

    async def _effect_of(self, entry: Entry, again: bool) -> Mapping[str, Any]:
        act = entry.act
        if entry.plan is not None:
            return await self._carry_out(act, Plan.from_dict(entry.plan), again=True)
        command = self._command_of(act)
        if command is None:
            await self._replies.post(act, "unknown", wording.unknown(), again=again)
            return {"ignored": "no command"}
        if not may(self._config.users, act.user, verb_of(command)):
            log.warning("denied: %s to %s", verb_of(command), act.user)
            await self._replies.whisper(act, wording.denied(command))
            return {"denied": verb_of(command)}
        if isinstance(command, Help):
            await self._replies.post(act, "help", wording.HELP, again=again)
            return {"helped": True}
        shown = self._shown(act) if isinstance(command, Answer) else ()
        by = await self._people.who(act.user)
        found = plan_of(command, self._fleet, self._thread(act), shown, by=by, key=act.key, at=act.at)
        if isinstance(found, Unclear):
            await self._replies.post(act, "unclear", wording.unclear(found.reply), again=again)
            return {"unclear": found.reply}
        kept = self._inbox.decide(act.key, found.as_dict())
        return await self._carry_out(act, Plan.from_dict(kept), again=again)

    async def _carry_out(self, act: Act, plan: Plan, *, again: bool) -> Mapping[str, Any]:
        log.info("%s: %s", act.user, plan.accepted)
        accepted = self._replies.post(act, "accepted", wording.accepted(plan.accepted, act.user), again=again)
        command = self._commands.run(act.key, plan.argv, stdin=plan.stdin, prints=plan.prints)
        _, document = await asyncio.gather(accepted, command)
        text = wording.printed(document["text"]) if plan.prints else wording.effect_of(document)
        await self._replies.post(act, "effect", text, again=again)
        return {"exit_code": document.get("exit_code")}

    def _command_of(self, act: Act) -> Command | None:
        if isinstance(act, NativeStop):
            return Stop(None, "Slack's Stop")
        if isinstance(act, Click):
            return command_of_click(act.action, act.value)
        if not _speaks_to_us(act) and not self._thread(act):
            return None  # people talk among themselves
        return command_in(act.text, in_thread=bool(act.thread))

    def _shown(self, act: Act) -> Sequence[ShownRequest]:
        """What waited for a person when this was done, in any thread that the channel shows."""
        ledger, channel = self._outbox.ledger, self._config.channel
        roots = {*ledger.thread_roots(channel), *((act.thread,) if act.thread else ())}
        keys = {key for root in roots if (key := ledger.thread_key_at(channel, root)) is not None}
        return [each for key in sorted(keys) for each in shown_requests(ledger.thread_records(key), act.at)]

    def _thread(self, act: Act) -> Sequence[Subject]:
        """The dispatches of the thread of ours in which it stands, the last of each VM."""
        if not act.thread:
            return ()
        key = self._outbox.ledger.thread_key_at(self._config.channel, act.thread)
        if key is None:
            return ()
        found: dict[str, Subject] = {}
        for record in self._outbox.ledger.thread_records(key):
            subject = record.event.subject
            if subject.vm:
                before = found.get(subject.vm, subject)
                found[subject.vm] = Subject(
                    dispatch=subject.dispatch,
                    vm=subject.vm,
                    repo=subject.repo or before.repo,
                    bead=subject.bead or before.bead,
                    session=subject.session or before.session,
                )
        return tuple(found.values())


def _speaks_to_us(act: Act) -> bool:
    return isinstance(act, Slash) or (isinstance(act, Message) and act.mentioned)
