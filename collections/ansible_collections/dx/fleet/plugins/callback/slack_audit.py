# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: slack_audit
type: notification
short_description: Tells dispatches in a Slack channel
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Delivers what the actions of this collection record of a dispatch, in one Slack thread per dispatch. The head of the
    thread is a live status, the replies are the trail.
  - It also records what only a callback sees, namely a host that Ansible does not reach, a task outside this collection
    that fails (its name, never what it said), and the end of a play before the end of a dispatch.
  - Everything is recorded in an outbox on the controller's disk first
    (C($XDG_STATE_HOME/dx-fleet/outbox.db)), without secrets. A process of its own delivers it, which is started by the
    first record, outlives the run, and ends when there has been nothing to do for some seconds. No task waits for
    Slack, and none fails because of it. What could not be delivered is delivered by the next run, or by
    C(dx-fleet audit flush).
  - C(dx-dispatch) enables it by itself where a channel and a token are configured.
requirements:
  - slack-sdk >= 3.27 (Python library on the controller)
  - aiohttp >= 3.13 (Python library on the controller)
  - enabled in C(callbacks_enabled)
options:
  token:
    description: Token of the app's bot. There is deliberately no other place for it than the environment.
    type: str
    env:
      - name: SLACK_BOT_TOKEN
  channel:
    description:
      - ID of the channel. Without it, the host variable C(slack_audit_channel) is taken, which the inventory
        P(dx.fleet.vm_endpoints#inventory) sets from the endpoints file.
    type: str
    env:
      - name: SLACK_AUDIT_CHANNEL
    ini:
      - section: callback_slack_audit
        key: channel
  enabled:
    description: V(false) turns the audit off.
    type: str
    env:
      - name: SLACK_AUDIT
    ini:
      - section: callback_slack_audit
        key: enabled
  api_url:
    description: Base URL of Slack's Web API; anything but https must be on this machine.
    type: str
    default: https://slack.com/api/
    env:
      - name: DX_SLACK_API_URL
    ini:
      - section: callback_slack_audit
        key: api_url
  mention:
    description:
      - IDs of the Slack users (such as C(U0123ABCD)) who are called where an agent waits for a person, separated by commas.
        Without it, those who may C(answer) by C(slack_users) of the endpoints file.
    type: str
    env:
      - name: DX_SLACK_MENTION
    ini:
      - section: callback_slack_audit
        key: mention
  buttons:
    description:
      - Whether the head of a thread has buttons (Stop, Allow once, Reject, Retry), which C(dx-fleet listen) hears. Without
        it, it has them where the endpoints file has C(slack_users).
    type: str
    env:
      - name: DX_SLACK_BUTTONS
    ini:
      - section: callback_slack_audit
        key: buttons
  flush_timeout:
    description:
      - How many seconds the end of a run waits at most until all that it recorded is in Slack. What is not there then is
        named, and delivered by the process that goes on.
      - Up to V(1), the default, the run does not wait at all for a Slack that does not answer.
      - Set it to more, such as V(60), where processes end with the run, as in a container or in a job of AWX. All of it
        is waited then, unless somebody must mend something first.
    type: float
    default: 1
    env:
      - name: DX_SLACK_FLUSH_TIMEOUT
    ini:
      - section: callback_slack_audit
        key: flush_timeout
"""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

try:
    from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.play import PlayWatch
    from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.mending import mending
    from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.deliverer_process import (
        start_deliverer,
    )
    from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox, outbox_path
    from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.recorder import Recorder
    from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.trail_wait import TrailWait
    from ansible_collections.dx.fleet.plugins.plugin_utils.config.slack import AuditConfig
    from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import AuditError, UsageError
    from ansible_collections.dx.fleet.plugins.plugin_utils.domain.identity import check_dispatch_id

    MISSING: ImportError | None = None
except ImportError as error:  # raised here, it would end the whole run
    MISSING = error

# Option -> the environment variable from which the actions' recorder, in the workers, reads the same.
_SHARED = {
    "channel": "SLACK_AUDIT_CHANNEL",
    "enabled": "SLACK_AUDIT",
    "api_url": "DX_SLACK_API_URL",
    "token": "SLACK_BOT_TOKEN",
    "mention": "DX_SLACK_MENTION",
    "buttons": "DX_SLACK_BUTTONS",
}


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "dx.fleet.slack_audit"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pid = os.getpid()
        self._watch: PlayWatch | None = None
        self._trail: TrailWait | None = None

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """The first moment at which the inventory's variables are known; no worker was forked yet."""
        if self._watch is not None:
            return
        variables = _variables(play)
        if not self._configure(_of_hosts(variables)) or context.CLIARGS.get("check"):
            return
        start = partial(start_deliverer, self._config, self._outbox.path)
        recorder = Recorder(self._config, self._outbox, self._display.warning, start)
        self._watch = PlayWatch(recorder, _dispatch_of(variables))
        if self._trail is None:
            with self._reported_faults():
                self._trail = TrailWait(self._outbox, str(self._config.channel), start)
                atexit.register(self._at_exit)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._took(result, failed=False)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._took(result, failed=not ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        if self._watch is None:
            return
        why = "" if _is_secret(result) else str(result.result.get("msg") or "")
        self._watch.unreachable(result.host.get_name(), why or "Ansible does not reach the host")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self._watch is None:
            return
        self._watch.ended()
        self._watch = None  # another playbook of the same run is another play
        self._wait()

    def _configure(self, of_hosts: dict[str, Any]) -> bool:
        if self._trail is not None:
            return True
        why = self._why_off(of_hosts)
        if why is None:
            return True
        if not self.disabled:
            self._display.warning(f"dispatches are not posted to Slack: {why}")
        self.disabled = True
        return False

    def _why_off(self, of_hosts: dict[str, Any]) -> str | None:
        if MISSING is not None:
            return f"a Python library is missing on the controller: {MISSING}"
        given = {name: str(self.get_option(option) or "") for option, name in _SHARED.items()}
        channel, users = of_hosts.get("slack_audit_channel"), of_hosts.get("slack_users")
        self._config = AuditConfig.read(given, channel, users if isinstance(users, dict) else None)
        if not self._config.on:
            return self._config.why_off
        for package, module in (("slack-sdk", "slack_sdk"), ("aiohttp", "aiohttp")):
            if find_spec(module) is None:
                return f"{package} is missing on the controller. Next: pip install {package}"
        for name, value in given.items():
            if value:
                os.environ.setdefault(name, value)
        self._outbox = Outbox(outbox_path(os.environ))
        return None

    def _took(self, result: Any, *, failed: bool) -> None:
        if self._watch is None:
            return
        action = str(getattr(result.task, "resolved_action", None) or result.task.action)
        self._watch.took(
            result.host.get_name(),
            {} if _is_secret(result) else result.result,
            failed=failed,
            own=action.startswith("dx.fleet."),
            task=str(result.task.get_name()),
            action=action,
        )

    def _at_exit(self) -> None:
        """Also after Ctrl-C, which ends a run without its stats."""
        if os.getpid() != self._pid or self._watch is None:
            return
        self._watch.ended(interrupted=True)
        self._wait()

    def _wait(self) -> None:
        """Wait a moment for the trail, and say what of it is not in Slack yet."""
        if self._trail is None:
            return
        with self._reported_faults():
            left = self._trail.until_delivered(float(self.get_option("flush_timeout")))
            channel = str(self._config.channel)
            if left.trouble is not None and self._outbox.warn_once(channel, left.trouble):
                self._display.warning(mending(channel, left.trouble))
            elif left.records:
                why = f" ({left.trouble})" if left.trouble else ""
                self._display.display(
                    f"Slack: {left.records} of this run's facts are not there yet{why}; they are kept"
                    " (dx-fleet audit)",
                    stderr=True,
                )

    @contextmanager
    def _reported_faults(self) -> Iterator[None]:
        try:
            yield
        except (AuditError, OSError) as error:
            self._display.warning(f"not delivered to Slack: {error}")


def _variables(play: Any) -> dict[str, Any]:
    """All variables of the play, untemplated."""
    manager = play.get_variable_manager()
    return dict(manager.get_vars(play=play)) if manager is not None else {}


def _of_hosts(variables: dict[str, Any]) -> dict[str, Any]:
    """The channel and its users, which the inventory gives its hosts: they are the same for all of them."""
    hosts = variables.get("ansible_play_hosts_all") or variables.get("groups", {}).get("all") or []
    for host in hosts:
        with suppress(KeyError, AttributeError):
            found = variables["hostvars"].raw_get(host)
            if isinstance(found.get("slack_audit_channel"), str):
                return {name: found.get(name) for name in ("slack_audit_channel", "slack_users")}
    return {}


def _dispatch_of(variables: dict[str, Any]) -> str | None:
    given = variables.get("id")
    if not isinstance(given, str):
        return None
    try:
        return check_dispatch_id(given)
    except UsageError:
        return None


def _is_secret(result: Any) -> bool:
    return bool(result.result.get("_ansible_no_log") or getattr(result.task, "no_log", False))
