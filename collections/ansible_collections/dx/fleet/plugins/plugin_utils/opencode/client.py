# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asynchronous client of one OpenCode server.

What an answer proves is decided in :mod:`.answers`. A GET whose connection broke is repeated; anything else
is not: who calls knows whether it may be (see the errors' tree).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import anyio._backends._asyncio  # noqa: F401 - see _READY
import httpcore  # noqa: F401
import httpx
import httpx_sse
import stamina
import stamina.instrumentation

from . import models
from .answers import Reply, accepted, adapter, decode, parsed, read, stream_opened
from .errors import AnswerLost, NotFound, NotOpenCode, Rejected, ServerFault, TooLarge
from .transport import transport_error

__all__ = ["OpenCode"]

CONNECT_TIMEOUT_S = 5.0
WHOLE_ANSWER_TIMEOUT_S = 60.0  # a peer that sends a byte now and then must not hold us
ANSWER_TIMEOUT_S = 20.0  # one thread serves all: OpenCode 1.18 was silent for 20 s under load

T = TypeVar("T")

stamina.instrumentation.set_on_retry_hooks(())  # a warning on standard error is in the way of what is printed


class OpenCode:
    """One server. Use as an async context manager.

    Args:
        url: Base URL.
        password: Password of the server, if it has one.
        username: Its user name.
        transport: httpx transport, where it is not plain HTTP to the URL.

    Every method raises :class:`OpenCodeError`.

    Raises:
        ValueError: It is not a URL.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        username: str = "opencode",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._transport = transport
        try:
            base = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ValueError(str(error)) from error
        if base.port is not None and not 0 < base.port < 65536:
            raise ValueError(f"there is no port {base.port}")
        self._fitting: dict[str, int] = {}  # session -> how many of its messages fit into one answer
        self._http = httpx.AsyncClient(
            base_url=base,
            auth=httpx.BasicAuth(username, password) if password else None,
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # Loading the CA bundle costs 30 ms: only where it is used.
            verify=ssl.create_default_context() if base.scheme == "https" else False,
            trust_env=False,  # no proxy from the environment may see the password
            transport=transport,
        )

    async def __aenter__(self) -> OpenCode:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    @property
    def way(self) -> str:
        """How requests reach the server, known from the first on: ``http``, or ``ssh`` (see VMTransport)."""
        return str(getattr(self._transport, "way", None) or "http")

    async def health(self, timeout_s: float = 1.0) -> models.Health:
        """`GET /global/health` on a connection of its own.

        A starting server accepts connections a second before it serves, and never answers what it got in
        that time (OpenCode 1.18); hence short tries on new connections.
        """
        timeout = httpx.Timeout(timeout_s)
        return await self._get(
            "/global/health", models.Health, timeout=timeout, headers={"connection": "close"}
        )

    async def info(self, timeout_s: float) -> models.Info:
        """`GET /api/info`, of OpenCode 2 and later; OpenCode 1 answers it with a web page."""
        return await self._get("/api/info", models.Info, timeout=httpx.Timeout(timeout_s))

    async def paths(self, directory: str | None = None) -> models.Paths:
        """`GET /path`: the server's home, and a directory (else its own) with its symbolic links resolved."""
        params = {} if directory is None else {"directory": directory}
        return await self._get("/path", models.Paths, params=params)

    async def projects(self) -> list[models.Project]:
        """`GET /project`: every project that the server has seen."""
        return (await self._get_all("/project", list[models.Project], {}))[0]

    async def directory_exists(self, directory: str) -> bool:
        """Whether a directory exists on the VM.

        OpenCode 1.18 answers `GET /file` with 500 where it does not, and says so nowhere else.
        """
        try:
            await self._get_all("/file", list[Any], {"path": ".", "directory": directory})
        except ServerFault:
            return False
        return True

    async def agents(self, directory: str) -> list[models.Agent]:
        """`GET /agent`."""
        return await self._get("/agent", list[models.Agent], params={"directory": directory})

    async def model_names(self, directory: str) -> list[str]:
        """Every configured model as ``provider/model``."""
        answer = await self._get("/config/providers", models.Providers, params={"directory": directory})
        return [f"{provider.id}/{model}" for provider in answer.providers for model in provider.models]

    async def create_session(self, session: str, directory: str) -> str:
        """`POST /api/session` with an id of our choice: a repeat finds the same session.

        Returns:
            The session's directory. In a repeat OpenCode 1.18 ignores a different one.
        """
        answer = await self._send(
            "POST",
            "/api/session",
            models.CreatedSession,
            body={"id": session, "location": {"directory": directory}},
        )
        if answer.data.id != session:
            words = f"{self.url} made session {answer.data.id!r} instead of {session!r}"
            raise AnswerLost(words, reason_code="not_opencode")
        return answer.data.location.directory

    async def update_session(self, session: str, changes: Mapping[str, Any]) -> models.Session:
        """`PATCH /session/ID`: ``title``, ``metadata``, ``permission`` (appended to what is there)."""
        return await self._send("PATCH", f"/session/{_id(session)}", models.Session, body=changes)

    async def session(self, session: str) -> models.Session:
        """`GET /session/ID`."""
        return await self._get(f"/session/{_id(session)}", models.Session)

    async def children(self, session: str, *, sure: bool = True) -> list[models.Session]:
        """`GET /session/ID/children`: the sessions of the subagents that a session began.

        Unless ``sure``, that there are none is not looked into: conclude nothing from it.
        """
        path, kind = f"/session/{_id(session)}/children", list[models.Session]
        return (await self._get_all(path, kind, {}))[0] if sure else await self._get(path, kind)

    async def sessions(self, limit: int = 100) -> list[models.Session]:
        """The newest sessions of all directories."""
        return (await self.sessions_before(None, limit=limit))[0]

    async def sessions_before(
        self, cursor: str | None, *, limit: int
    ) -> tuple[list[models.Session], str | None]:
        """A page of all directories' sessions, last changed first, and the cursor of the page after it."""
        params = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        return await self._get_all("/experimental/session", list[models.Session], params)

    async def statuses(self, directory: str) -> dict[str, models.SessionStatus]:
        """`GET /session/status` of one directory. Idle, unknown and failed sessions are all absent."""
        kind = dict[str, models.SessionStatus]
        return (await self._get_all("/session/status", kind, {"directory": directory}))[0]

    async def permissions(self, directory: str) -> list[models.PermissionRequest]:
        """`GET /permission` of one directory; those of an aborted session stay in it."""
        return await self._get("/permission", list[models.PermissionRequest], params={"directory": directory})

    async def questions(self, directory: str) -> list[models.QuestionRequest]:
        """`GET /question` of one directory; those of an aborted session stay in it."""
        return await self._get("/question", list[models.QuestionRequest], params={"directory": directory})

    async def message(self, session: str, message: str) -> models.Message | None:
        """`GET /session/ID/message/ID`; None where there is no such message (or session)."""
        try:
            return await self._get(f"/session/{_id(session)}/message/{_id(message)}", models.Message)
        except NotFound:
            return None

    async def messages(
        self, session: str, *, limit: int, before: str | None = None
    ) -> tuple[list[models.Message], str | None]:
        """The newest messages, oldest first, and the cursor of those before them.

        A page that is too large is asked for in smaller pieces: there may be fewer messages than ``limit``.
        """
        limit = min(limit, self._fitting.get(session, limit))
        while True:
            params = {"limit": str(limit)} | ({"before": before} if before else {})
            try:
                reply = await self._read_again(f"/session/{_id(session)}/message", params=params)
            except TooLarge:
                if limit == 1:
                    raise
                limit = self._fitting[session] = max(limit // 4, 1)
            else:
                return parsed(reply, list[models.Message]), reply.cursor

    async def prompt(self, session: str, body: Mapping[str, Any]) -> None:
        """`POST /session/ID/prompt_async`. Success means only that the body was read: an unknown agent,
        a vanished directory and an unknown model get the same 204 (OpenCode 1.18)."""
        accepted(await self._request("POST", f"/session/{_id(session)}/prompt_async", body=body))

    async def delete_session(self, session: str) -> None:
        """`DELETE /session/ID`. It does not stop a running turn (OpenCode 1.18)."""
        await self._send("DELETE", f"/session/{_id(session)}", bool)

    async def abort(self, session: str) -> None:
        """`POST /session/ID/abort`. OpenCode 1.18 answers true for any session: look at the status."""
        await self._send("POST", f"/session/{_id(session)}/abort", bool)

    async def reply_permission(self, request: str, directory: str, reply: str, words: str | None) -> None:
        """`POST /permission/ID/reply`: ``once``, ``always`` or ``reject``; words reach the agent.

        Raises:
            NotFound: It was answered before, or its session has gone on.
        """
        body = {"reply": reply} | ({"message": words} if words else {})
        await self._send("POST", f"/permission/{_id(request)}/reply?directory={_id(directory)}", bool, body)

    async def reply_question(self, request: str, directory: str, answers: list[list[str]] | None) -> None:
        """`POST /question/ID/reply`, or `/reject` where there are no answers; one list for each question.

        Raises:
            NotFound: It was answered before, or its session has gone on.
        """
        verb, body = ("reject", None) if answers is None else ("reply", {"answers": answers})
        await self._send("POST", f"/question/{_id(request)}/{verb}?directory={_id(directory)}", bool, body)

    async def dispose(self, directory: str) -> None:
        """`POST /instance/dispose`: end all that runs in a directory. The next request begins it anew."""
        await self._send("POST", f"/instance/dispose?directory={_id(directory)}", bool)

    @asynccontextmanager
    async def events(self, silence_s: float) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """`GET /global/event` as an iterator of ``{"directory", "payload": {"type", "properties"}}``.

        It ends when the server closes the stream; there is no replay, so re-read state afterwards.

        Args:
            silence_s: Longest silence, in seconds; the server sends a heartbeat every 10 s.

        Raises:
            OpenCodeError: The stream can't be opened, broke, or fell silent (``AnswerLost``).
        """
        timeout = httpx.Timeout(silence_s, connect=CONNECT_TIMEOUT_S)
        asked = f"GET {self.url}/global/event"
        try:
            async with httpx_sse.aconnect_sse(self._http, "GET", "/global/event", timeout=timeout) as source:
                reply = Reply.of(source.response, asked)
                if reply.content_type != "text/event-stream":
                    reply = await read(source.response, asked)
                stream_opened(reply)
                yield self._decoded(source)
        except httpx.HTTPError as error:
            raise transport_error(error, asked) from error

    async def _decoded(self, source: Any) -> AsyncIterator[dict[str, Any]]:
        try:
            async for event in source.aiter_sse():
                try:
                    data = decode(event.data.encode("utf-8", "surrogatepass"))
                except ValueError:
                    continue  # one bad event says nothing of the next; state is re-read anyway
                if isinstance(data, dict):
                    yield data
        except httpx.HTTPError as error:
            raise transport_error(error, f"GET {self.url}/global/event") from error

    async def _get(self, path: str, kind: type[T], **options: Any) -> T:
        return parsed(await self._read_again(path, **options), kind)

    async def _get_all(self, path: str, kind: type[T], params: Mapping[str, str]) -> tuple[T, str | None]:
        """All that there is of something, and the cursor of what is left.

        That there is nothing ends sessions and frees beads. ``[]`` and ``{}`` are what others answer as well:
        they are believed where they come twice, and OpenCode itself answers in between.
        """
        reply = await self._read_again(path, params=params)
        found = parsed(reply, kind)
        if not found:
            await self._check_own(path)
            reply = await self._read_again(path, params=params)
            found = parsed(reply, kind)
        return found, reply.cursor

    async def _check_own(self, path: str) -> None:
        """Ask for two directories at once, which OpenCode refuses in a body of its own.

        Raises:
            OpenCodeError: Somebody else answers that path.
        """
        try:
            await self._get(path, list[Any], params=[("directory", "/"), ("directory", "/")])
        except Rejected:
            return
        raise NotOpenCode(
            f"GET {self.url}{path} does not refuse what OpenCode refuses: somebody else answers it"
        )

    async def _read_again(self, path: str, **options: Any) -> Reply:
        """A GET, asked up to three times where the connection breaks; a time-out is not worth another."""
        async for attempt in stamina.retry_context(
            on=_connection_broke, attempts=3, timeout=None, wait_initial=0.05, wait_max=0.2, wait_jitter=0.05
        ):
            with attempt:
                return await self._request("GET", path, **options)
        raise AssertionError("unreachable")

    async def _send(self, method: str, path: str, kind: type[T], body: Any = None) -> T:
        return parsed(await self._request(method, path, body=body), kind)

    async def _request(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        """The answer with its whole body, whatever it is."""
        if body is not None:
            options["content"] = json.dumps(body).encode()
            options["headers"] = {"content-type": "application/json"} | options.get("headers", {})
        asked = f"{method} {self.url}{path}"
        try:
            async with asyncio.timeout(WHOLE_ANSWER_TIMEOUT_S):
                async with self._http.stream(method, path, **options) as response:
                    reply = await read(response, asked)
        except httpx.HTTPError as error:
            raise transport_error(error, asked) from error
        except TimeoutError as error:
            raise AnswerLost(f"{asked}: the answer never ended", reason_code="answer_timeout") from error
        return reply


def _connection_broke(error: Exception) -> bool:
    return isinstance(error, AnswerLost) and error.reason_code == "connection_lost"


def _id(text: str) -> str:
    """An id as one path segment, whatever is in it."""
    return quote(text, safe="")


# Every task is a fresh fork: what httpx imports, and pydantic builds, at first use is done here once instead.
_READY = [
    adapter(kind)
    for kind in (
        models.Health,
        models.Message,
        models.Paths,
        models.Session,
        models.CreatedSession,
        list[Any],
        list[models.Message],
        list[models.PermissionRequest],
        list[models.Project],
        list[models.QuestionRequest],
        dict[str, models.SessionStatus],
    )
]
