# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An OpenCode server in memory, as far as the client uses one, with the quirks of OpenCode 1.18.

It is an httpx transport, so a test needs no socket and no real time. Its agent does nothing by itself: a test
says what becomes of a session. The contract that it shares with the real server is tests/integration/
test_contract.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode

__all__ = [
    "HOME",
    "URL",
    "FakeOpenCode",
    "FakeSession",
    "answer",
    "answered_for",
    "lost",
    "not_sent",
    "own_error",
    "tool",
    "unauthorized",
]

URL = "http://epyc6:4105"
HOME = "/home/feng"

Fault = Callable[["FakeOpenCode", httpx.Request], httpx.Response]
_End = object()


def lost(kind: type[BaseException] = httpx.ReadError) -> Fault:
    """The server does what it was asked; its answer never arrives."""

    def fault(server: FakeOpenCode, request: httpx.Request) -> httpx.Response:
        server.do(request)
        raise kind("gone") if not issubclass(kind, httpx.RequestError) else kind("gone", request=request)

    return fault


def not_sent(kind: type[httpx.TransportError] = httpx.ConnectError) -> Fault:
    """The request never reaches the server."""

    def fault(server: FakeOpenCode, request: httpx.Request) -> httpx.Response:
        raise kind("[Errno 111] Connection refused", request=request)

    return fault


def answer(status: int, body: Any = None, content_type: str = "application/json") -> Fault:
    """Something else answers; the server gets nothing."""

    def fault(server: FakeOpenCode, request: httpx.Request) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(status, headers={"content-type": content_type}, content=content)

    return fault


def own_error(status: int, name: str, message: str = "no", **data: Any) -> Fault:
    """OpenCode itself says no; it does nothing."""
    return answer(status, {"name": name, "data": {"message": message, **data}})


def unauthorized() -> Fault:
    """OpenCode wants a password."""

    def fault(server: FakeOpenCode, request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, headers={"www-authenticate": 'Basic realm="Secure Area"'})

    return fault


def answered_for(status: int, body: Any, content_type: str, when: str, delay_s: float = 0.5) -> Fault:
    """Somebody answers for the server. What became of the request: ``instead``: nothing; ``after``: the server
    had done it by then; ``before``: the server gets it later, by so many seconds."""

    def fault(server: FakeOpenCode, request: httpx.Request) -> httpx.Response:
        if when == "after":
            server.do(request)
        elif when == "before":
            asyncio.get_running_loop().call_later(delay_s, server.do, request)
        return answer(status, body, content_type)(server, request)

    return fault


@dataclass
class _Rule:
    method: str
    path: re.Pattern[str]
    fault: Fault
    times: int
    after: int


@dataclass
class FakeSession:
    """One session. ``status`` None is idle; ``messages`` are as the server gives them; times are in ms."""

    id: str
    directory: str
    title: str = "New session"
    parent: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    permission: list[dict[str, str]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    status: dict[str, Any] | None = None
    cost: float = 0.0
    created: float = 1
    updated: float = 1

    def as_dict(self) -> dict[str, Any]:
        parent = {"parentID": self.parent} if self.parent else {}
        return {
            "id": self.id,
            "directory": self.directory,
            "title": self.title,
            "metadata": self.metadata,
            "permission": self.permission,
            "cost": self.cost,
            "time": {"created": self.created, "updated": self.updated},
            **parent,
        }

    def user(self, message: str, text: str, *, synthetic: bool = False) -> None:
        """A user message is stored."""
        part = {"id": f"prt_{message}", "type": "text", "text": text, "synthetic": synthetic}
        info = {
            "id": message,
            "sessionID": self.id,
            "role": "user",
            "time": {"created": 1000},
            "agent": "build",
        }
        self.messages.append({"info": info, "parts": [part]})

    def step(
        self,
        message: str,
        *parts: dict[str, Any],
        finish: str | None = None,
        error: dict[str, Any] | None = None,
        completed: bool = True,
        cost: float = 0.0,
        text: str | None = None,
        **more: Any,
    ) -> None:
        """A step of the agent: an assistant message, or the same one as it is now."""
        time = {"created": 2000} | ({"completed": 3000} if completed else {})
        info = {
            "id": message,
            "sessionID": self.id,
            "role": "assistant",
            "time": time,
            "cost": cost,
            "tokens": {"input": 100, "output": 20, "reasoning": 0, "cache": {"read": 3, "write": 4}},
            "providerID": "scripted",
            "modelID": "main",
            **({"finish": finish} if finish else {}),
            **({"error": error} if error else {}),
            **more,
        }
        said = [] if text is None else [{"id": f"prt_{message}", "type": "text", "text": text}]
        self.messages = [each for each in self.messages if each["info"]["id"] != message]
        self.messages.append({"info": info, "parts": [*parts, *said]})


def tool(call: str, command: str = "make test", *, status: str = "completed", **state: Any) -> dict[str, Any]:
    """A part that is a call of the bash tool; ``exit=0`` gives its exit code."""
    metadata = {"exit": state.pop("exit")} if "exit" in state else {}
    return {
        "id": call,
        "type": "tool",
        "tool": "bash",
        "state": {"status": status, "input": {"command": command}, "metadata": metadata, **state},
    }


class FakeOpenCode:
    """The server. ``requests`` are all that it got, as (method, path)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.version = "1.18.33"
        self.directories = {HOME, f"{HOME}/affordabot", "/srv/repos/affordabot"}
        self.projects: list[str] = []
        self.agents = [
            {"name": "build", "mode": "primary"},
            {"name": "plan", "mode": "primary"},
            {"name": "general", "mode": "subagent"},
            {"name": "title", "mode": "primary", "hidden": True},
        ]
        self.models = {"scripted": ["main", "small"]}
        self.sessions: dict[str, FakeSession] = {}
        self.broken: dict[str, list[dict[str, Any]]] = {}
        """Directories whose opencode.json is wrong, with its issues."""
        self.links: dict[str, str] = {}
        """Symbolic links among the directories."""
        self.permissions: list[dict[str, Any]] = []
        self.questions: list[dict[str, Any]] = []
        self.aborted: list[str] = []
        self.stops_when_aborted = True
        self.disposes = True
        self.replies: list[tuple[str, str, Any]] = []
        """Answers to permissions and questions: its id, the verb, the body."""
        self.accepts_streams = True
        self.before_stream: Callable[[], None] = lambda: None
        self.streams: list[asyncio.Queue[object]] = []
        self.connected = asyncio.Event()
        self._rules: list[_Rule] = []
        self._bad_places: dict[str, Fault] = {}

    # -- for tests --

    def client(self, **options: Any) -> OpenCode:
        """A client whose every request comes here."""
        return OpenCode(URL, transport=httpx.MockTransport(self.handle), **options)

    def add(self, method: str, path: str, fault: Fault, *, times: int = 1, after: int = 0) -> None:
        """Spoil so many requests with that path (a regular expression), after letting some through."""
        self._rules.append(_Rule(method, re.compile(path), fault, times, after))

    def faults_in(self, directory: str, fault: Fault) -> None:
        """Spoil every request for that directory."""
        self._bad_places[directory] = fault

    def mend(self) -> None:
        """Spoil no request any more."""
        self._rules.clear()
        self._bad_places.clear()

    def session(self, name: str = "ses_1", directory: str = f"{HOME}/affordabot", **more: Any) -> FakeSession:
        """A session that is there already."""
        made = self.sessions[name] = FakeSession(name, directory, **more)
        return made

    def count(self, method: str, path: str) -> int:
        """How many requests of that method had a path that matches."""
        return sum(1 for how, where in self.requests if how == method and re.search(path, where))

    def stored(self, session: str, message: str) -> list[str]:
        """The texts of the user message, one per prompt that carried it."""
        found = [each for each in self.sessions[session].messages if each["info"]["id"] == message]
        return [part["text"] for each in found for part in each["parts"]]

    def tell(self, kind: str, properties: Any, *, times: int = 1) -> None:
        """Send an event to all that listen."""
        for stream, _ in itertools.product(self.streams, range(times)):
            stream.put_nowait({"directory": HOME, "payload": {"type": kind, "properties": properties}})

    def tell_raw(self, line: str) -> None:
        """Send a line of that text to all that listen."""
        for stream in self.streams:
            stream.put_nowait(line)

    def idle(self, session: str, *, silently: bool = False) -> None:
        """The session's turn is over."""
        self.sessions[session].status = None
        if not silently:
            self.tell("session.status", {"sessionID": session, "status": {"type": "idle"}})
            self.tell("session.idle", {"sessionID": session})

    def cut_streams(self) -> None:
        """All event streams end."""
        self.connected.clear()
        for stream in self.streams:
            stream.put_nowait(_End)
        self.streams.clear()

    # -- the transport --

    async def handle(self, request: httpx.Request) -> httpx.Response:
        path = unquote(_raw_path(request))
        self.requests.append((request.method, path))
        for rule in self._rules:
            if rule.method not in ("*", request.method) or not rule.path.search(path):
                continue
            if rule.after > 0:
                rule.after -= 1
                continue
            if rule.times > 0:
                rule.times -= 1
                return rule.fault(self, request)
        spoil = self._bad_places.get(request.url.params.get("directory", "")) if self._bad_places else None
        return self.do(request) if spoil is None else spoil(self, request)

    def do(self, request: httpx.Request) -> httpx.Response:
        """What the server does with a request."""
        path = [unquote(part) for part in _raw_path(request).split("/")[1:]]
        body: Any = json.loads(request.content) if request.content else None
        params = request.url.params
        directory = params.get("directory", HOME)
        if directory in self.broken and path[0] not in ("global", "path", "project"):
            return self._config_invalid(directory)
        if len(params.get_list("directory")) > 1:
            data = {"message": 'Expected string | undefined, got ["/","/"]', "kind": "Query"}
            return httpx.Response(400, json={"name": "BadRequest", "data": data})
        match request.method, path:
            case "GET", ["global", "health"]:
                return _json({"healthy": True, "version": self.version})
            case "GET", ["global", "event"]:
                return self._event_stream()
            case "GET", ["path"]:
                return _json({"home": HOME, "directory": self.links.get(directory, directory)})
            case "GET", ["project"]:
                return _json([{"id": worktree, "worktree": worktree} for worktree in self.projects])
            case "GET", ["file"]:
                return _json([]) if directory in self.directories else _fault()
            case "GET", ["agent"]:
                return _json(self.agents)
            case "GET", ["config", "providers"]:
                providers = [
                    {"id": name, "key": "secret", "models": {model: {"id": model} for model in models}}
                    for name, models in self.models.items()
                ]
                return _json({"providers": providers, "default": {}})
            case "GET", ["permission"]:
                return _json(self._of_directory(self.permissions, directory))
            case "GET", ["question"]:
                return _json(self._of_directory(self.questions, directory))
            case "GET", ["session", "status"]:
                return _json(
                    {
                        name: session.status
                        for name, session in self.sessions.items()
                        if session.status is not None and session.directory == directory
                    }
                )
            case "GET", ["experimental", "session"]:
                return self._sessions_page(params)
            case "POST", ["api", "session"]:
                made = self.sessions.setdefault(body["id"], self._new_session(body))
                return _json({"data": {"id": made.id, "location": {"directory": made.directory}}})
            case "POST", ["instance", "dispose"]:
                for session in list(self.sessions.values()):
                    if session.directory == directory and session.status is not None and self.disposes:
                        self.idle(session.id)
                return _json(True)
            case "POST", ["permission" | "question" as kind, name, verb]:
                return self._replied(kind, name, verb, body)
            case _, ["session", name, *rest]:
                return self._of_session(request, name, rest, body)
        return httpx.Response(200, headers={"content-type": "text/html"}, text="<html>OpenCode</html>")

    def _new_session(self, body: Any) -> FakeSession:
        """Each is a millisecond younger than the one before."""
        now = max((session.created for session in self.sessions.values()), default=0) + 1
        return FakeSession(body["id"], body["location"]["directory"], created=now, updated=now)

    def _sessions_page(self, params: httpx.QueryParams) -> httpx.Response:
        """Last changed first; the cursor is the time of the last one (OpenCode 1.18)."""
        by_age = enumerate(self.sessions.values())
        newest = [
            each for _, each in sorted(by_age, key=lambda pair: (pair[1].updated, pair[0]), reverse=True)
        ]
        left = [each for each in newest if "cursor" not in params or each.updated < float(params["cursor"])]
        page = left[: int(params["limit"])]
        headers = {"x-next-cursor": str(page[-1].updated)} if len(left) > len(page) else {}
        return _json([session.as_dict() for session in page], **headers)

    def _of_session(self, request: httpx.Request, name: str, rest: list[str], body: Any) -> httpx.Response:
        if (request.method, rest) == ("POST", ["abort"]):
            self._abort(name)
            return _json(True)
        if not name.startswith("ses"):
            return _fault()
        session = self.sessions.get(name)
        if session is None:
            return _not_found(f"Session not found: {name}")
        if session.directory in self.broken:
            return self._config_invalid(session.directory)
        match request.method, rest:
            case "GET", []:
                return _json(session.as_dict())
            case "PATCH", []:
                session.title = body.get("title", session.title)
                session.metadata = body.get("metadata", session.metadata)
                session.permission += body.get("permission", [])
                return _json(session.as_dict())
            case "DELETE", []:
                del self.sessions[name]
                return _json(True)
            case "GET", ["children"]:
                return _json([each.as_dict() for each in self.sessions.values() if each.parent == name])
            case "GET", ["message"]:
                return _page(session, int(request.url.params["limit"]), request.url.params.get("before"))
            case "GET", ["message", wanted]:
                found = [each for each in session.messages if each["info"]["id"] == wanted]
                return _json(found[0]) if found else _not_found("Message not found")
            case "POST", ["prompt_async"]:
                self._prompt(session, body)
                return httpx.Response(204)
        return _fault()

    def _config_invalid(self, directory: str) -> httpx.Response:
        data = {"path": f"{directory}/opencode.json", "issues": self.broken[directory]}
        return httpx.Response(400, json={"name": "ConfigInvalidError", "data": data})

    def _prompt(self, session: FakeSession, body: Any) -> None:
        """A repeat starts no second run, and puts each part in the place of that with its id."""
        self.bodies.append(body)
        parts = [
            {"id": f"prt_{len(self.bodies)}_{number}", **part} for number, part in enumerate(body["parts"])
        ]
        for message in session.messages:
            if message["info"]["id"] == body["messageID"]:
                message["parts"] = list({part["id"]: part for part in [*message["parts"], *parts]}.values())
                return
        session.user(body["messageID"], "")
        session.messages[-1]["parts"] = parts
        session.status = {"type": "busy"}

    def _replied(self, kind: str, name: str, verb: str, body: Any) -> httpx.Response:
        pending = self.permissions if kind == "permission" else self.questions
        found = next((each for each in pending if each["id"] == name), None)
        if found is None:
            tag = "PermissionNotFoundError" if kind == "permission" else "QuestionNotFoundError"
            return httpx.Response(404, json={"_tag": tag, "requestID": name})
        pending.remove(found)
        self.replies.append((name, verb, body))
        return _json(True)

    def _abort(self, name: str) -> None:
        self.aborted.append(name)
        if self.stops_when_aborted and name in self.sessions:
            self.idle(name)

    def _of_directory(self, requests: list[dict[str, Any]], directory: str) -> list[dict[str, Any]]:
        return [each for each in requests if self.sessions[each["sessionID"]].directory == directory]

    def _event_stream(self) -> httpx.Response:
        if not self.accepts_streams:
            return _fault()
        self.before_stream()
        stream: asyncio.Queue[object] = asyncio.Queue()
        self.streams.append(stream)
        stream.put_nowait({"payload": {"type": "server.connected", "properties": {}}})
        self.connected.set()
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Lines(stream))


class _Lines(httpx.AsyncByteStream):
    def __init__(self, events: asyncio.Queue[object]) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (event := await self._events.get()) is not _End:
            line = event if isinstance(event, str) else json.dumps(event)
            yield f"data: {line}\n\n".encode()


def _raw_path(request: httpx.Request) -> str:
    return request.url.raw_path.decode().partition("?")[0]


def _json(body: Any, **headers: str) -> httpx.Response:
    return httpx.Response(200, headers=headers, json=body)


def _not_found(message: str) -> httpx.Response:
    return httpx.Response(404, json={"name": "NotFoundError", "data": {"message": message}})


def _fault() -> httpx.Response:
    data = {"message": "Unexpected server error. Check server logs for details.", "ref": "err_30e885de"}
    return httpx.Response(500, json={"name": "UnknownError", "data": data})


def _page(session: FakeSession, limit: int, before: str | None) -> httpx.Response:
    """The newest messages before a cursor, oldest first."""
    end = len(session.messages) if before is None else int(before)
    start = max(end - limit, 0)
    headers = {"x-next-cursor": str(start)} if start else {}
    return _json(session.messages[start:end], **headers)
