# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM's server is there, is OpenCode, and of a version that we know; else what a person can do."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..domain.clock import SYSTEM_CLOCK, Clock
from ..domain.errors import PreflightError
from ..domain.outcome import State
from ..text.printable import shortened
from ..text.shell import command_line
from .client import OpenCode
from .errors import (
    AnswerLost,
    ConfigInvalid,
    NotOpenCode,
    NotSent,
    OpenCodeError,
    ServerFault,
    SshRefused,
    Unauthorized,
)
from .versions import NEWEST_TESTED, OLDEST, is_newer_than_tested, is_supported

__all__ = ["PATIENCE_S", "check_server", "check_version", "unusable"]

PATIENCE_S = 20.0  # a loaded server was silent that long (OpenCode 1.18)


async def check_server(
    server: OpenCode, vm: str, *, patience_s: float = PATIENCE_S, clock: Clock = SYSTEM_CLOCK
) -> str:
    """The version of the OpenCode server that answers for a VM.

    Raises:
        PreflightError: ``unreachable``, or ``refused`` where what answers is no OpenCode 1, or SSH must not
            go on.
    """
    deadline = clock.monotonic() + patience_s
    timeout_s = 1.0
    while True:
        try:
            return (await server.health(timeout_s)).version
        except NotOpenCode as error:
            version = await _version_of_another(server, max(timeout_s, 5.0))
            if version is not None:
                raise _unsupported(server, vm, version) from error
            raise unusable(server, vm, error) from error
        except OpenCodeError as error:
            silent = error.reason_code in ("answer_timeout", "connect_timeout")
            left_s = deadline - clock.monotonic()
            if not silent or left_s <= 0:
                raise unusable(server, vm, error) from error
            timeout_s = min(timeout_s * 2, max(left_s, 0.5))


def check_version(server: OpenCode, vm: str, version: str) -> str | None:
    """A warning where the version is newer than any that was tried.

    Raises:
        PreflightError: ``refused``, ``version_unsupported``: what was never tried gets no task.
    """
    if not is_supported(version):
        raise _unsupported(server, vm, version)
    if is_newer_than_tested(version):
        found = shortened(version, 40)
        return f"{vm} runs OpenCode {found}; the newest that dx.fleet was tested with is {NEWEST_TESTED}"
    return None


def unusable(server: OpenCode, vm: str, error: OpenCodeError) -> PreflightError:
    """The error of a look, in words that say what to do. Nothing was sent."""
    return PreflightError(
        error.message,
        reason_code=error.reason_code,
        next_action=_remedy(server.url, vm, error),
        state=_state(error),
    )


def _state(error: OpenCodeError) -> State:
    """``unreachable`` is what may be well again by itself: the network, or who is in between."""
    may_pass = isinstance(error, NotSent | AnswerLost | ServerFault) or error.reason_code == "gateway_error"
    return State.UNREACHABLE if may_pass and not isinstance(error, SshRefused) else State.REFUSED


async def _version_of_another(server: OpenCode, timeout_s: float) -> str | None:
    """The version of an OpenCode 2 or later, which has other routes; None where it is none."""
    try:
        return (await server.info(timeout_s)).version
    except OpenCodeError:
        return None


def _unsupported(server: OpenCode, vm: str, version: str) -> PreflightError:
    return PreflightError(
        f"{vm} runs OpenCode {shortened(version, 40)} at {server.url}; dx.fleet needs {OLDEST} or later,"
        f" below 2, and was tested up to {NEWEST_TESTED}",
        reason_code="version_unsupported",
        next_action=f"on {vm}: npm install -g opencode-ai@{NEWEST_TESTED}, then start the server again:"
        f" {_serve(server.url)}",
        state=State.REFUSED,
    )


def _serve(url: str) -> str:
    host, port = _place(url)
    return command_line(["opencode", "serve", "--hostname", host, "--port", port])


def _place(url: str) -> tuple[str, str]:
    """Host and port of a server."""
    parts = urlsplit(url)
    return parts.hostname or "", str(parts.port or (443 if parts.scheme == "https" else 80))


def _remedy(url: str, vm: str, error: OpenCodeError) -> str:
    """The command, or the one thing to change, that mends it."""
    host, port = _place(url)
    file = f"opencode of {vm} in vm-endpoints.json"
    if isinstance(error, ConfigInvalid):
        return f"mend {error.file} on {vm}"
    if isinstance(error, Unauthorized):
        return f"set password_env of {vm} in vm-endpoints.json and that variable in the environment"
    if isinstance(error, SshRefused):
        return error.next_action
    if isinstance(error, ServerFault) and error.log_ref:
        return f"look for {error.log_ref} in ~/.local/share/opencode/log on {vm}"
    match error.reason_code:
        case "dns_failure":
            return f"check the host name in {file}, and that Tailscale is up: tailscale ping {host}"
        case "connection_refused":
            return f"start the server on {vm}: {_serve(url)}"
        case "no_route" | "connect_timeout" | "connect_failed":
            return f"check that {vm} is up and that the network leads there: tailscale ping {host}"
        case "ssh_unreachable":
            return f"check that {vm} is up and that SSH reaches it: ansible {vm} -m ansible.builtin.ping"
        case "runtime_folder_unsafe":
            return "set XDG_RUNTIME_DIR to a folder of your own"
        case "tls_mismatch":
            return f"write http://{host}:{port} instead of https in {file}"
        case "tls_error":
            return (
                "export SSL_CERT_FILE=FILE with the certificate that signed the server's; to see it:"
                f" openssl s_client -connect {host}:{port}"
            )
        case "redirected":
            return f"set {file} to where it leads, if that is the server: curl -sI {url}/global/health"
        case "bad_url":
            return f"write {file} as http://HOST:PORT"
        case "answer_timeout" | "connection_lost":
            return f"look whether the server hangs, and start it again: curl -m 5 {url}/global/health"
        case "gateway_error":
            return f"look whether the server behind the gateway runs: {_serve(url)}"
    return f"look at what listens there, on {vm}: lsof -nP -iTCP:{port} -sTCP:LISTEN"
