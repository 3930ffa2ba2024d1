# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One real sshd for one VM, with keys of its own. The system's sshd, its keys and settings are never touched."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .processes import ServerStartError, die_with_parent

__all__ = ["SshFiles", "SshServer", "find_sshd"]

_START_TIMEOUT_S = 20.0
_PROBE_PAUSE_S = 0.02
_PRIVILEGE_SEPARATION = Path("/run/sshd")  # Debian's; root's sshd ends without it

_SERVER = """\
ListenAddress {host}:{port}
HostKey {host_key}
PidFile none
AuthorizedKeysFile {authorized_keys}
AuthenticationMethods publickey
AllowUsers {user}
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
UseDNS no
MaxStartups 100
MaxSessions 64
X11Forwarding no
LogLevel VERBOSE
Subsystem sftp internal-sftp
SetEnv {environment}
"""

_CLIENT = """\
Host *
    IdentityFile {identity}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
"""


def find_sshd(environ: Mapping[str, str] = os.environ) -> Path | None:
    """OpenSSH's server on this machine, if it has one with what belongs to it."""
    path = os.pathsep.join((environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    found = {name: shutil.which(name, path=path) for name in ("sshd", "ssh", "ssh-keygen")}
    return Path(found["sshd"]) if found["sshd"] and all(found.values()) else None


@dataclass(frozen=True)
class SshFiles:
    """The keys of a lab, and the settings of a person who connects to its VMs."""

    folder: Path

    @property
    def config(self) -> Path:
        """For ``ssh -F``: the person's key, and the hosts that they know."""
        return self.folder / "config"

    @property
    def identity(self) -> Path:
        """The person's private key."""
        return self.folder / "id"

    @property
    def known_hosts(self) -> Path:
        """The VMs' public keys by address."""
        return self.folder / "known_hosts"

    def make(self) -> None:
        """Make the person's key and settings; no host is known yet."""
        self.folder.mkdir()
        new_key(self.identity)
        self.known_hosts.touch()
        self.config.write_text(_CLIENT.format(identity=self.identity, known_hosts=self.known_hosts))


class SshServer:
    """The sshd of one VM.

    Args:
        vm: The VM's name.
        address: Host and port on which it listens.
        environment: Of every session, in place of the user's own; it names the VM's home.
    """

    def __init__(
        self, vm: str, address: tuple[str, int], sshd: Path, files: SshFiles, environment: Mapping[str, str]
    ) -> None:
        self.vm = vm
        self.host, self.port = address
        self._sshd = sshd
        self._files = files
        self._environment = dict(environment)
        self._folder = files.folder / vm
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the listener while it lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(self) -> None:
        """Make its key, start it, and wait till it accepts connections.

        Raises:
            ServerStartError: It ended, or accepted none within 20 s.
        """
        self._prepare()
        self._process = self._spawn()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not await self._accepts():
                    if self.pid is None:
                        raise ServerStartError(self._trouble("ended"))
                    await asyncio.sleep(_PROBE_PAUSE_S)
        except TimeoutError:
            raise ServerStartError(self._trouble("accepted no connection in time")) from None

    def stop(self) -> None:
        """End the listener; connections stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _prepare(self) -> None:
        self._folder.mkdir()
        host_key = self._folder / "host_key"
        new_key(host_key)
        public = host_key.with_suffix(".pub").read_text().split()
        with self._files.known_hosts.open("a") as known:
            known.write(f"[{self.host}]:{self.port} {public[0]} {public[1]}\n")
        environment = " ".join(f'"{name}={value}"' for name, value in self._environment.items())
        (self._folder / "sshd_config").write_text(
            _SERVER.format(
                host=self.host,
                port=self.port,
                host_key=host_key,
                authorized_keys=self._files.identity.with_suffix(".pub"),
                user=getpass.getuser(),
                environment=environment,
            )
        )
        if os.geteuid() == 0:
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)

    def _spawn(self) -> subprocess.Popen[bytes]:
        # By its whole path: sshd starts itself anew for each connection.
        words = [str(self._sshd), "-D", "-f", str(self._folder / "sshd_config"), "-E", str(self._log)]
        return subprocess.Popen(
            words,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    @property
    def _log(self) -> Path:
        return self._folder / "sshd.log"

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return False
        writer.close()
        return True

    def _trouble(self, what: str) -> str:
        log = self._log.read_text(errors="replace") if self._log.exists() else ""
        return f"the sshd of {self.vm} at {self.host}:{self.port} {what}; its log ends:\n{log[-1000:]}"


def new_key(path: Path) -> None:
    """A fresh key pair, ``path`` and ``path.pub``."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "dx.fleet lab", "-f", str(path)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)
