# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the OpenCode server of a host is reached."""

from __future__ import annotations


class ModuleDocFragment:
    """``dx.fleet.connection`` and ``dx.fleet.connection.patience``."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Base URL of the OpenCode server, such as V(http://epyc6:4105).
      - Default is the host variable C(opencode_url), which the inventory plugin
        P(dx.fleet.vm_endpoints#inventory) sets.
    type: str
  username:
    description:
      - User name for a server that wants a password.
      - Default is the host variable C(opencode_username), else V(opencode), as of OpenCode itself.
    type: str
  password:
    description:
      - Password of the server. O(password_env) keeps it out of playbooks and logs.
    type: str
  password_env:
    description:
      - Name of the environment variable of the controller that holds the server's password.
      - Default is the host variable C(opencode_password_env).
      - It is an error if that variable is not set. O(password) goes before it.
    type: str
  transport:
    description:
      - How the server is reached. V(http) is its port directly; V(ssh) is its port as the host itself sees it,
        through a unix socket that is forwarded over Ansible's own SSH connection to the host, so that no port is
        opened anywhere.
      - V(auto) is directly where a connection comes about, else through SSH. It is decided before anything is sent.
      - A URL that is the loopback address of a host that is reached by SSH is the host's own, and always through SSH.
      - Default is the host variable C(opencode_transport), else V(auto).
    type: str
    choices: [auto, http, ssh]
notes:
  - An option that a task leaves out is taken from the host variable that its description names.
  - The action runs on the controller in any case. Where the task is delegated (C(delegate_to)), it works with the server
    of that host, and takes that host's variables; a host without a server is refused.
requirements:
  - OpenCode 1.18.15 or a later 1.x on the host; tested with 1.18.15 to 1.18.33
  - httpx, httpx-sse, pydantic and stamina, on the controller
"""

    PATIENCE = r"""
options:
  preflight_timeout:
    description:
      - How many seconds a server that accepts connections may take to answer its first request.
      - A busy OpenCode 1.18 was silent for up to 20 seconds. A refused connection is not waited for.
    type: float
    default: 20.0
"""
