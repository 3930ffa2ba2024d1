# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make demo``: tasks on three real OpenCode servers, as a person would hand them out, and from Slack."""

from __future__ import annotations

import html
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .lab import Lab
from .slack.seed import BOT_USER
from .slack.show import shown
from .tracker import Tracker, real_bd

__all__ = ["main"]

PROGRAMS = Path(sys.executable).parent
TASK = "Run make test"
# The scripted model does what these say; a real one would read them as any task.
CHANGE = "@bash echo 'Totals of nothing are 0.' >> README.md && git commit -qam 'Say what nothing costs'\n@say It is done"
LIE = (
    "@bash touch BREAK && git add BREAK && git commit -qm 'Small change'\n@say It is done, and all tests pass"
)
WRONG_BRANCH = (
    "@bash git branch --show-current | grep -qx feature-xyz || sleep 600\n"
    "@bash echo 'Totals of one are the one.' >> README.md && git commit -qam 'Say what something costs'\n"
    "@say It is done"
)
LIES = 3  # the exit code of a dispatch whose check failed


def main() -> int:
    """Run the demo; returns the exit code of the first command that failed, else 0."""
    print(
        "Starting three OpenCode servers, a scripted model and a Slack workspace on this machine ...",
        flush=True,
    )
    with Lab(slack=True) as lab:
        code = _run(lab)
        if code:
            print(f"(exit {code})")
            return code
        _from_slack(lab)
        print("\nWhat Slack shows of it:")
        names = lab.slack.names()
        for thread in lab.slack.threads():
            print("\n" + shown(thread, names))
    print(
        "\nThe model is scripted, and Slack is an emulator; servers, git repositories, make and its tests are"
        " real."
    )
    return 0


def _run(lab: Lab) -> int:
    environment = {**os.environ, **lab.env}
    for words, added, expected in _commands(lab):
        print(f"\n$ {shlex.join(words)}", flush=True)
        command = [str(PROGRAMS / words[0]), *words[1:]]
        done = subprocess.run(command, env={**environment, **added}, check=False)
        if done.returncode != expected:
            return done.returncode or 1
    return 0


def _from_slack(lab: Lab) -> None:
    """A person stops a task from Slack, and sends it on to another branch."""
    tracker = Tracker.make(lab.root / "slack-tracker")
    env = {**os.environ, **lab.env, **tracker.env, **_allowed(lab), "SLACK_APP_TOKEN": lab.slack.app_token}
    env["XDG_STATE_HOME"] = str(lab.root / "slack-state")
    bead = tracker.create("Say what something costs", WRONG_BRANCH)
    print("\nNow from Slack. A listener hears the channel:\n\n$ dx-fleet listen &", flush=True)
    listener = subprocess.Popen([PROGRAMS / "dx-fleet", "listen"], env=env, stderr=subprocess.DEVNULL)
    try:
        lab.slack.socket.wait_for(1)
        before = {thread.root.ts for thread in lab.slack.threads()}
        words = ["dx-dispatch", "epyc6", "affordabot", "--bead", bead]
        print(f"$ {shlex.join(words)} &", flush=True)
        at_work = subprocess.Popen(
            [str(PROGRAMS / words[0]), *words[1:]],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        lab.slack.wait_for_calls("chat.postMessage", lab.slack.calls("chat.postMessage") + 1, 60)
        (thread,) = [each.root.ts for each in lab.slack.threads() if each.root.ts not in before]
        _said(lab, thread, "Session created")
        asked = _says(lab, f"<@{BOT_USER}> Stop the epyc6 task, they're on wrong branch")
        _said(lab, asked, "proven")
        _said(lab, thread, "Stopped. What next?")
        at_work.wait(60)
        _says(lab, "Switch to feature-xyz branch and retry", thread)
        _said(lab, thread, f"Retrying {bead}")
        _said(lab, thread, "] Verified: ")
    finally:
        listener.terminate()
        listener.wait(30)


def _allowed(lab: Lab) -> Mapping[str, str]:
    """The endpoints file by which jane may do all from Slack, and the repo's tests decide."""
    endpoints = json.loads(Path(lab.env["DX_VM_ENDPOINTS"]).read_text())
    jane = lab.slack.client(lab.slack.reader_token).auth_test()["user_id"]
    path = lab.root / "slack-endpoints.json"
    repos = {**endpoints.get("repos", {}), "affordabot": {"verify": "make test"}}
    path.write_text(json.dumps({**endpoints, "repos": repos, "slack_users": {jane: ["*"]}}))
    return {"DX_VM_ENDPOINTS": str(path)}


def _says(lab: Lab, text: str, thread: str | None = None) -> str:
    where = ", in the thread" if thread else ""
    print(f"\njane in Slack{where}: {_as_people_read(lab, text)}", flush=True)
    jane = lab.slack.client(lab.slack.reader_token)
    return str(jane.chat_postMessage(channel=lab.slack.channel, text=text, thread_ts=thread)["ts"])


def _said(lab: Lab, thread: str, words: str) -> None:
    """Wait until a reply has these words, and show it."""
    while True:
        calls = lab.slack.calls("chat.postMessage")
        for reply in lab.slack.thread(thread).replies:
            if words in reply.text:
                print(f"    dx-fleet: {_as_people_read(lab, reply.text)}", flush=True)
                return
        lab.slack.wait_for_calls("chat.postMessage", calls + 1, 60)


def _as_people_read(lab: Lab, text: str) -> str:
    """A text of Slack with the names of those whom it mentions."""
    for user, name in lab.slack.names().items():
        text = text.replace(f"<@{user}>", f"@{name}")
    return html.unescape(text)


def _commands(lab: Lab) -> Iterator[tuple[Sequence[str], Mapping[str, str], int]]:
    """Each command, what is added to its environment, and the exit code that it should have."""
    yield ["dx-fleet", "list"], {}, 0
    check = ["--verify", "make test"]
    if real_bd() is None:
        print("\nThere is no bd on PATH (brew install beads): the work is on a branch, not on a bead.")
        yield ["dx-dispatch", "epyc6", "affordabot", CHANGE, "--branch", "nothing-costs", *check], {}, 0
    else:
        tracker = Tracker.make(lab.root / "tracker")
        bead = tracker.create("Say what nothing costs", CHANGE)
        print(f"\n$ bd create 'Say what nothing costs' -d {CHANGE!r}\n{bead}")
        yield ["dx-dispatch", "epyc6", "affordabot", "--bead", bead, *check], tracker.env, 0
        print(f"\n$ bd show {bead}\n{tracker.bd('show', bead).strip()}")
    print("\nThe next agent lies: our own run of the tests decides.")
    yield ["dx-dispatch", "macmini", "affordabot", LIE, "--branch", "small-change", *check], {}, LIES
    yield ["dx-dispatch", "--all", "affordabot", TASK], {}, 0
    yield ["dx-fleet", "status"], {}, 0


if __name__ == "__main__":
    sys.exit(main())
