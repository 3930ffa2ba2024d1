# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.dx.fleet.plugins.module_utils.session_ids import session_id
from ansible_collections.dx.fleet.plugins.module_utils.specs import STOP
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.action import FleetAction
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.begun_python import (
    BegunPython,
    begun_python,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.clock import SYSTEM_CLOCK
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import PreflightError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.stop import Clause, StopMark
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.stop_proof import (
    QUIET_S,
    bead_clause,
    in_words,
    of_directory,
    uncommitted,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.text.redact import redact

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.activity import working_families
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import NotFound, OpenCodeError
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.recent import recent_sessions
    from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.stop import (
        Stopped,
        Wanted,
        idle_clauses,
        others_beside,
        stop,
    )

MODULE = "dx.fleet.work_processes"
ENDED = ("already_ended", "too_late")
SEEN = (
    *("processes", "unsure", "ended", "why", "dirty"),
    *("head", "head_before", "unread", "watched_s", "began", "moment"),
)


class ActionModule(FleetAction):
    ARGUMENT_SPEC = STOP
    _begun: BegunPython | None = None
    """The module on the VM, before it is known what of."""

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        if args["stopped"] is not None:
            return await self._proven(args)
        mark = StopMark(
            args["by"] or f"{getpass.getuser()}@{socket.gethostname()}",
            redact(" ".join((args["reason"] or "").split()))[:500],
            SYSTEM_CLOCK.time(),
            None,
            None,
        )
        stops: list[dict[str, Any]] = []
        try:
            async with self.connect(args) as server:
                wanted = await self._wanted(server, args)
                with begun_python(self, MODULE, self._task_vars) if wanted else nullcontext() as self._begun:
                    for each in wanted:
                        stops.append(await self._stopped(server, each, mark, args))  # noqa: PERF401 - kept if one fails
        except OpenCodeError as error:
            done = ", ".join(each["session"] for each in stops)
            what = f"after {done} the rest could not be stopped" if done else "nothing could be stopped there"
            raise PreflightError(
                f"{what}: {error.message}. What runs there may go on",
                reason_code=error.reason_code,
                next_action=f"dx-fleet stop {args['name'] or self.vm}, once it answers",
            ) from error
        beads = [
            {"bead": each["bead"], "dispatch": each["dispatch"], "words": f"aborted: {in_words(each)}"}
            for each in stops
            if each["bead"] is not None and each["state"] not in (*ENDED, "would_stop")
        ]
        return {
            "changed": any(each["state"] not in ENDED for each in stops),
            "stops": stops,
            "beads": beads,
        }

    async def _wanted(self, server: OpenCode, args: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What is to be stopped on this VM: claims, and sessions of dispatches without a bead."""
        name = args["name"]
        claims = [claim for claim in args["claims"] if claim["vm"] == self.vm and claim["session"]]
        if name is not None and name not in self.vm_names:
            named = [
                claim for claim in claims if name in (claim["bead"], claim["dispatch"], claim["session"])
            ]
            if named:
                return [_of_claim(claim) for claim in named]
            session = name if name.startswith("ses") else session_id(name)
            try:
                found = await server.session(session)
            except NotFound:
                return []
            return [_of_session(found)]
        held = [_of_claim(claim) for claim in claims if claim["status"] == "in_progress"]
        known = {each["session"] for each in held}
        working = await working_families(server, await recent_sessions(server)) - known
        sessions = []
        for each in sorted(working):
            with suppress(NotFound):  # deleted meanwhile
                sessions.append(await server.session(each))
        return held + [_of_session(each) for each in sessions if "dx_dispatch" in each.metadata]

    async def _stopped(
        self, server: OpenCode, each: dict[str, Any], mark: StopMark, args: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Stop one session and what it began on the VM."""
        told = self._untouched(each, mark)
        if args["asked_at"] is not None and each["began"] is not None and each["began"] > args["asked_at"]:
            return {**told, "state": "too_late", "why": "it began after the stop was asked for"}
        wanted = Wanted(each["session"], each["dispatch"], each["message"], each["directory"], each["held"])
        if self._task.check_mode:
            return {**told, "state": "would_stop"}
        of_this = StopMark(mark.by, mark.why, mark.at, each["dispatch"], each["message"])
        looks = _Looks(lambda directory, others: self._processes(directory, _where(each, others)))
        found = await stop(
            server,
            wanted,
            of_this,
            timeout_s=args["timeout"],
            aborting=lambda: self._tell(each, EventKind.ABORTING, why=mark.why, by=mark.by),
            may_be_idle=looks.begin,
        )
        told |= {
            "state": found.state,
            "why": found.why,
            "directory": found.directory,
            "family": list(found.family),
            "disposed": found.disposed,
        }
        if found.state == "already_ended":
            return told
        seen = await looks.last(found)
        return {**told, **_in_directory(seen, found.directory)}

    def _untouched(self, each: Mapping[str, Any], mark: StopMark) -> dict[str, Any]:
        """What is returned of a session to which nothing was done."""
        return {
            **{name: each[name] for name in ("session", "dispatch", "message", "bead", "directory")},
            "vm": self.vm,
            "by": mark.by,
            "reason": mark.why,
            "at": mark.at,
            "why": None,
            "proven": None,
            "family": [],
            "disposed": False,
            "processes": None,
            "uncommitted": None,
            "clauses": [],
        }

    async def _still(
        self, server: OpenCode, found: Stopped, before: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Clause], bool]:
        """The directory when it was watched for long enough, and the sessions after that; see
        :func:`idle_clauses`."""
        watching = asyncio.create_task(self._watched(server, found, before))
        if _can_be_seen(before):
            # By then a watch that goes on since the look before is over, but for its way back.
            await SYSTEM_CLOCK.sleep(before["seen_at"] + QUIET_S - SYSTEM_CLOCK.monotonic())
        idle, resumed = await idle_clauses(server, found)
        watched = await watching
        if watched.anew and not resumed:
            idle, resumed = await idle_clauses(server, found)
        return watched.entry, idle, resumed

    async def _watched(
        self, server: OpenCode, found: Stopped, before: Mapping[str, Any], *, anew: bool = False
    ) -> _Watched:
        """What has become of its directory when that was watched for long enough, since the look before."""
        if not _can_be_seen(before):
            return _Watched(_in_directory(before, found.directory), anew=False)
        others = before["others"]
        with suppress(OpenCodeError):  # a clause says that it can't be asked
            others = list(await others_beside(server, found))
        where = _where(before, others)
        watch: dict[str, Any] = {"watch": QUIET_S}
        if not anew and others == before["others"]:  # while others worked, HEAD was theirs to move
            left = [{name: each[name] for name in ("pid", "began")} for each in before["processes"] or ()]
            watch["since"] = {"moment": before["moment"], "head": before["head"], "processes": left}
        now = await asyncio.to_thread(self._processes, found.directory, where, **watch)
        ended = [*(before["ended"] or ()), *(now["ended"] or ())]
        went_on = "since" in watch and not now["ended"] and (now["moment"] or 0.0) >= before["moment"]
        return _Watched(_in_directory({**now, "ended": ended}, found.directory), anew=not went_on)

    def _processes(self, directory: str, where: Mapping[str, Any], **watch: Any) -> dict[str, Any]:
        """What the module found and ended on the VM; ``why`` where it could not."""
        options = {
            "directory": directory,
            "state": "listed" if where["others"] else "ended",
            "exclusive": where["exclusive"],
            **watch,
        }
        nothing = {**dict.fromkeys(SEEN), **where}
        try:
            result = self._run_work_processes(options)
        except AnsibleConnectionFailure as error:
            return {**nothing, "why": f"the VM can't be reached by its connection: {error}"}
        except AnsibleError as error:
            return {**nothing, "why": f"the module can't be run there: {error}"}
        if result.get("failed"):
            return {**nothing, "why": f"the module failed: {result.get('msg')}"}
        return {**nothing, **{name: result.get(name) for name in SEEN}}

    def _run_work_processes(self, options: dict[str, Any]) -> dict[str, Any]:
        """What ``dx.fleet.work_processes`` returns."""
        found = self._begun.result_of(options) if self._begun is not None else None
        if found is None:
            found = self.run_module(MODULE, options)
        if not found.get("not_seen"):
            return found
        # Nor what it ended: a watch begins anew.
        anew = {name: value for name, value in options.items() if name != "since"}
        again: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=anew, task_vars=self._task_vars
        )
        return again

    def _tell(self, stopped: Mapping[str, Any], kind: EventKind, **fields: Any) -> None:
        """Show what is done now, and record it in the thread of the dispatch."""
        session = stopped["session"]
        if self.telling is not None:
            self.telling.about(stopped["dispatch"], session, vm=self.vm, bead=stopped["bead"])
        self.emit(ProgressEvent(self.vm, kind, session, fields))

    async def _proven(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Every stop with all its clauses, as they are now."""
        stops = []
        blocked = {
            each["item"]["bead"]: each
            for each in (args["blocked"] or {}).get("results", ())
            if isinstance(each.get("item"), Mapping)
        }
        async with self.connect(args) as server:
            for each in args["stopped"].get("stops", ()):
                if each["state"] in (*ENDED, "would_stop"):
                    stops.append(each)
                    continue
                stops.append(await self._proof(server, each, blocked.get(each["bead"])))
        return {"changed": False, "stops": stops, "proof": True}

    async def _proof(
        self, server: OpenCode, each: dict[str, Any], of_bead: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """One stop with all its clauses; ``of_bead`` is what became of blocking its bead."""
        if of_bead is not None and of_bead.get("reason_code") == "claim_lost":
            # Its dispatcher was faster: what has ended is left as it is.
            return {**each, "state": "already_ended", "why": of_bead["msg"], "clauses": []}
        mark = StopMark(each["by"], each["reason"], each["at"], each["dispatch"], each["message"])
        found = Stopped(each["session"], each["state"], each["directory"], mark, tuple(each["family"]))
        watched, idle, resumed = await self._still(server, found, each["processes"])
        if resumed:  # what was seen of the directory is of before that
            watched = (await self._watched(server, found, watched["processes"], anew=True)).entry
        clauses = [*(clause.as_dict() for clause in idle), *watched.pop("clauses")]
        if each["bead"] is not None:
            clauses.append(bead_clause(each["bead"], of_bead).as_dict())
        proven = all(clause["proven"] for clause in clauses)
        if proven:
            self._tell(each, EventKind.STOPPED)
        return {**each, **watched, "clauses": clauses, "proven": proven}


class _Looks:
    """Looks at the VM, beside those at the server, which take as long."""

    def __init__(self, look: Callable[[str, Sequence[str]], dict[str, Any]]) -> None:
        self._look = look
        self._begun: list[asyncio.Task[_Look]] = []

    def begin(self, directory: str, others: Sequence[str]) -> None:
        """Begin one, unless the last is under way; see the ``may_be_idle`` of :func:`stop`."""
        if self._begun and not self._begun[-1].done():
            return
        self._begun.append(asyncio.create_task(self._one(directory, others)))

    async def _one(self, directory: str, others: Sequence[str]) -> _Look:
        asked_at = SYSTEM_CLOCK.monotonic()
        seen = await asyncio.to_thread(self._look, directory, others)
        return _Look(seen, asked_at, SYSTEM_CLOCK.monotonic())

    async def last(self, found: Stopped) -> dict[str, Any]:
        """What was seen when no session worked any more."""
        idle_at = SYSTEM_CLOCK.monotonic() if found.idle_at is None else found.idle_at
        looks = [await work for work in self._begun]
        if not looks or looks[-1].ended_at < idle_at:  # what it saw is of before the end
            self.begin(found.directory, found.others)
            looks.append(await self._begun[-1])
        last = looks[-1]
        seen = {**last.seen, "ended": [each for look in looks for each in look.seen["ended"] or ()]}
        if seen["moment"] is not None:  # HEAD is to be still from then on
            seen["moment"] = max(seen["moment"], seen["began"] + idle_at - last.asked_at)
        seen["seen_at"] = last.ended_at
        return seen


@dataclass(frozen=True)
class _Look:
    """What was seen; when it was asked for and returned, by the monotonic clock of this host."""

    seen: dict[str, Any]
    asked_at: float
    ended_at: float


@dataclass(frozen=True)
class _Watched:
    """The ``entry`` of a directory; ``anew``: the watch did not go on since the look before."""

    entry: dict[str, Any]
    anew: bool


def _can_be_seen(look: Mapping[str, Any]) -> bool:
    return look["processes"] is not None or look["head"] is not None


def _where(each: Mapping[str, Any], others: Sequence[str]) -> dict[str, Any]:
    return {"others": list(others), "exclusive": each["exclusive"]}


def _of_claim(claim: Mapping[str, Any]) -> dict[str, Any]:
    names = ("session", "dispatch", "message", "bead")
    began = None
    with suppress(ValueError, TypeError):
        began = datetime.fromisoformat(claim["claimed_at"]).timestamp()
    return {
        **{name: claim[name] for name in names},
        "directory": claim["worktree"],
        "held": claim["status"] == "in_progress",
        "exclusive": bool(claim["worktree"] and claim["branch"]),
        "began": began,
    }


def _of_session(session: Any) -> dict[str, Any]:
    dispatch = session.metadata.get("dx_dispatch")
    return {
        "session": session.id,
        "dispatch": dispatch if isinstance(dispatch, str) else None,
        "message": None,
        "bead": None,
        "directory": session.directory,
        "held": False,
        "exclusive": False,
        "began": session.time.created / 1000,
    }


def _in_directory(found: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """What a stop says of its directory."""
    return {
        "processes": found,
        "clauses": [clause.as_dict() for clause in of_directory(found)],
        "uncommitted": uncommitted(found, directory),
    }
