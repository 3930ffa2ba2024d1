#!/usr/bin/env python3
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for `bd`, for machines without it. It is not Beads.

One SQLite file, and the subset of commands, flags, answers and exit codes of bd 1.0 that this project uses, its
traps included: the same actor may claim again, a claim with other fields is two writes, ids match by a part of
them, errors are plain text even with --json. The contract tests run against it and, where there is one, against a
real `bd`.

``STANDIN_BD_SLEEP`` is how many seconds it takes to start, ``STANDIN_BD_WRITE_SLEEP`` how many it takes to write
(``STANDIN_BD_WRITE_BEGUN`` names a file that it makes as it begins). With ``STANDIN_BD_DIES`` set to ``before the
write``, ``between the writes`` or ``after the write`` a change kills it there; with ``STANDIN_BD_FAILS`` it ends
there with an error. ``STANDIN_BD_AT`` is how a word begins that such a command must have. ``STANDIN_BD_NOTICE`` is
printed before each answer, ``STANDIN_BD_TIP`` behind it. ``STANDIN_BD_ROOM`` is how many bytes a whole bead may have
(1.0.4: 65535; later ones take any).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import time
from functools import partial

TYPE_CHECKING = False  # by this name it is true for mypy; typing itself takes 3 ms of each start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

VERSION = {"version": "1.0.3-standin", "build": "standin", "branch": "none", "schema_version": 1}
DATABASE, PREFIX = "standin.db", "standin-prefix"  # files in a workspace


class Failure(Exception):
    """A line for standard error; exit code 1."""


class Store:
    """The issues of a workspace, in one SQLite file. Each command is one transaction."""

    def __init__(self, folder: str) -> None:
        self._database = sqlite3.connect(os.path.join(folder, DATABASE), timeout=60, isolation_level=None)
        self._database.execute("CREATE TABLE IF NOT EXISTS issues (id TEXT PRIMARY KEY, data TEXT NOT NULL)")
        self._database.execute("BEGIN IMMEDIATE")
        self._written = 0

    def commit(self) -> None:
        if self._database.total_changes == self._written:
            self._database.execute("COMMIT")
            return
        self._written = self._database.total_changes
        if _is_meant():
            if begun := os.environ.get("STANDIN_BD_WRITE_BEGUN"):
                open(begun, "w", encoding="utf-8").close()
            time.sleep(float(os.environ.get("STANDIN_BD_WRITE_SLEEP", "0")))
        _die("before the write")
        self._database.execute("COMMIT")
        _die("after the write")

    def go_on(self) -> None:
        """Begin another write."""
        _die("between the writes")
        self._database.execute("BEGIN IMMEDIATE")

    def all(self) -> list[dict[str, Any]]:
        return [
            json.loads(row[0]) for row in self._database.execute("SELECT data FROM issues ORDER BY rowid")
        ]

    def save(self, issue: dict[str, Any]) -> None:
        issue["updated_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._database.execute(
            "INSERT INTO issues VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data",
            (issue["id"], json.dumps(issue)),
        )

    def resolve(self, wanted: str) -> dict[str, Any] | None:
        """The issue of this id, else the only one whose id contains it: a trap of the real one."""
        issues = self.all()
        exact = [issue for issue in issues if issue["id"] == wanted]
        found = exact or [issue for issue in issues if wanted in issue["id"]]
        if len(found) > 1:
            ids = " ".join(issue["id"] for issue in found)
            raise Failure(
                f'Error resolving {wanted}: ambiguous ID "{wanted}" matches {len(found)} issues: [{ids}]'
            )
        return found[0] if found else None


def check_room(issue: dict[str, Any]) -> None:
    """A trap of bd 1.0.4: a change puts the whole issue, as JSON, into its log, of 64 KiB a line."""
    whole, room = json.dumps(issue), os.environ.get("STANDIN_BD_ROOM")
    if room is not None and len(whole) > int(room):
        words = f"record event in events: Error 1105: string '{whole}' is too large for column 'new_value'"
        raise Failure(f"Error updating {issue['id']}: failed to record event: {words}")


def _die(when: str) -> None:
    if os.environ.get("STANDIN_BD_DIES") == when and _is_meant():
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("STANDIN_BD_FAILS") == when and _is_meant():
        raise Failure("Error: auto-export failed: no space left on device")


def _is_meant() -> bool:
    """Whether this is a command that shall die or take its time."""
    at = os.environ.get("STANDIN_BD_AT", "")
    return any(word.startswith(at) for word in sys.argv[1:])


class Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        # With a width, argparse does not look for that of the terminal, whose imports take 3 ms.
        narrow = partial(argparse.HelpFormatter, width=100)
        super().__init__(**options, allow_abbrev=False, formatter_class=narrow)

    def error(self, message: str) -> NoReturn:
        print(f"Error: {message.replace('unrecognized arguments:', 'unknown flag:')}", file=sys.stderr)
        sys.exit(1)


def main() -> int:
    time.sleep(float(os.environ.get("STANDIN_BD_SLEEP", "0")))
    options = parser(sys.argv[1:]).parse_args()
    try:
        return int(options.run(options))
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1


def parser(words: list[str]) -> Parser:
    """For those commands that are among these words: to make it for all takes 4 ms of each start."""
    top = Parser(prog="bd")
    top.add_argument("--actor", default=os.environ.get("USER", "unknown"))
    commands = top.add_subparsers(dest="command", required=True)
    for name, (run, arguments) in COMMANDS.items():
        if name in words:
            command = commands.add_parser(name)
            command.set_defaults(run=run)
            for names, options in {"--json": FLAG, **arguments}.items():
                command.add_argument(*names.split(), **options)
    return top


def run_init(options: argparse.Namespace) -> int:
    folder = os.environ.get("BEADS_DIR", ".beads")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, PREFIX), "w", encoding="utf-8") as file:
        file.write(options.prefix)
    Store(folder).commit()
    return 0


def workspace() -> str:
    named = os.environ.get("BEADS_DIR")
    folders = [named] if named else [os.path.join(folder, ".beads") for folder in _here_and_above()]
    for folder in folders:
        if os.path.exists(os.path.join(folder, DATABASE)):
            return folder
    raise Failure("Error: no beads database found\nHint: run 'bd init' to create one")


def _here_and_above() -> list[str]:
    folders = [os.getcwd()]
    while (above := os.path.dirname(folders[-1])) != folders[-1]:
        folders.append(above)
    return folders


def run_create(options: argparse.Namespace) -> int:
    folder = workspace()
    store = Store(folder)
    issue = {
        "id": options.id or _new_id(store, folder, options.parent),
        "title": options.title,
        "description": options.description,
        "status": "open",
        "priority": 2,
        "issue_type": options.type,
    }
    if options.parent:
        issue["dependencies"] = [_link(issue["id"], options.parent, "parent-child")]
    store.save(issue)
    store.commit()
    return answer(shown(issue) | {"schema_version": 1})


def _new_id(store: Store, folder: str, parent: str | None) -> str:
    if parent is None:
        with open(os.path.join(folder, PREFIX), encoding="utf-8") as file:
            prefix = file.read()
        return f"{prefix}-{os.urandom(4).hex()}"
    return f"{parent}.{1 + sum(issue['id'].startswith(parent + '.') for issue in store.all())}"


def _link(issue: str, other: str, kind: str) -> dict[str, str]:
    return {"issue_id": issue, "depends_on_id": other, "type": kind}


def run_dep(options: argparse.Namespace) -> int:
    store = Store(workspace())
    issue = store.resolve(options.id)
    if issue is None or store.resolve(options.other) is None:
        raise Failure(f"Error: resolving {options.id}: no issue found")
    issue.setdefault("dependencies", []).append(_link(options.id, options.other, "blocks"))
    store.save(issue)
    store.commit()
    return answer(
        {"status": "added", "issue_id": options.id, "depends_on_id": options.other, "type": "blocks"}
    )


def run_defer(options: argparse.Namespace) -> int:
    store = Store(workspace())
    issue = store.resolve(options.id)
    if issue is None:
        raise Failure(f"Error resolving {options.id}: no issue found")
    issue |= {"status": "deferred", "defer_until": options.until and f"{options.until}T00:00:00Z"}
    store.save(issue)
    store.commit()
    return answer([shown(issue)])


def run_show(options: argparse.Namespace) -> int:
    store = Store(workspace())
    issue = store.resolve(options.id)
    store.commit()
    if issue is None:
        print(f'Error fetching {options.id}: no issue found matching "{options.id}"', file=sys.stderr)
        answer({"error": "no issues found matching the provided IDs", "schema_version": 1})
        return 1
    links = issue.pop("dependencies", [])
    found = {each["id"]: each for each in store.all()}
    # In another shape than `list` has them.
    issue["dependencies"] = [
        {**shown(found[link["depends_on_id"]]), "dependency_type": link["type"]}
        for link in links
        if link["depends_on_id"] in found
    ]
    return answer([{name: value for name, value in shown(issue).items() if value != []}])


def run_update(options: argparse.Namespace) -> int:
    store = Store(workspace())
    issue = store.resolve(options.id)
    if issue is None:
        raise Failure(f'Error resolving {options.id}: no issue found matching "{options.id}"')
    statuses = ("open", "in_progress", "blocked", "deferred", "closed", "pinned", "hooked")
    if options.status is not None and options.status not in statuses:
        answer({"error": f"invalid status {options.status!r}", "schema_version": 1})
        return 1
    if options.claim:
        claim(issue, options.actor)
        if any((options.status, options.assignee, options.append_notes, options.metadata)):
            store.save(issue)  # the trap: what else is to change is another write
            store.commit()
            store.go_on()
    change(issue, options)
    check_room(issue)
    store.save(issue)
    store.commit()
    return answer([shown(issue)])


def claim(issue: dict[str, Any], actor: str) -> None:
    holder, status = issue.get("assignee") or "", issue["status"]
    if holder == actor and status == "in_progress":
        return  # the trap: the same actor "wins" again
    if holder and holder != actor:
        raise Failure(f"Error claiming {issue['id']}: issue already claimed by {holder}")
    if status != "open":
        raise Failure(f"Error claiming {issue['id']}: issue not claimable: status {status}")
    issue |= {"assignee": actor, "status": "in_progress"}


def change(issue: dict[str, Any], options: argparse.Namespace) -> None:
    if options.status is not None:
        issue["status"] = options.status
    if options.assignee is not None:
        issue["assignee"] = options.assignee
    if options.append_notes is not None:
        issue["notes"] = "\n".join(filter(None, [issue.get("notes"), options.append_notes]))
    metadata = issue.setdefault("metadata", {})
    if options.metadata is not None:
        metadata |= json.loads(options.metadata)
    for pair in options.set_metadata:
        key, _, value = pair.partition("=")
        try:
            metadata[key] = json.loads(value)
        except ValueError:
            metadata[key] = value
    for key in options.unset_metadata:
        metadata.pop(key, None)


def run_close(options: argparse.Namespace) -> int:
    store = Store(workspace())
    issue = store.resolve(options.id)
    if issue is None:
        answer(
            {
                "error": f'resolving ID {options.id}: no issue found matching "{options.id}"',
                "schema_version": 1,
            }
        )
        return 1
    issue |= {"status": "closed", "close_reason": options.reason}
    check_room(issue)
    store.save(issue)
    store.commit()
    return answer([shown(issue)])


def run_list(options: argparse.Namespace) -> int:
    store = Store(workspace())
    issues = [shown(issue) for issue in store.all() if options.all or issue["status"] != "closed"]
    store.commit()
    if options.has_metadata_key:
        issues = [issue for issue in issues if options.has_metadata_key in issue.get("metadata", {})]
    if options.metadata_field:
        key, _, value = options.metadata_field.partition("=")
        issues = [issue for issue in issues if str(issue.get("metadata", {}).get(key)) == value]
    if options.limit and len(issues) > options.limit:
        print(f"Showing {options.limit} issues; more results matched", file=sys.stderr)
        issues = issues[: options.limit]
    return answer(issues)


def run_version(options: argparse.Namespace) -> int:
    return answer(VERSION)


def shown(issue: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, as the real one."""
    return {key: value for key, value in issue.items() if value not in ("", {}, None)}


def answer(data: Any) -> int:
    if notice := os.environ.get("STANDIN_BD_NOTICE"):
        print(notice)
    print(json.dumps(data, indent=2))
    if tip := os.environ.get("STANDIN_BD_TIP"):
        print(tip)
    return 0


PLAIN: dict[str, Any] = {}
FLAG: dict[str, Any] = {"action": "store_true"}
LIST: dict[str, Any] = {"action": "append", "default": []}
EMPTY: dict[str, Any] = {"default": ""}
COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], dict[str, dict[str, Any]]]] = {
    "init": (
        run_init,
        {
            "--prefix": {"default": "bd"},
            **dict.fromkeys(("-q", "--non-interactive", "--skip-hooks", "--skip-agents"), FLAG),
        },
    ),
    "create": (
        run_create,
        {
            "title": PLAIN,
            "-d --description": EMPTY,
            "--id": PLAIN,
            "-t --type": {"default": "task"},
            "--parent": PLAIN,
        },
    ),
    "dep": (run_dep, {"verb": {"choices": ["add"]}, "id": PLAIN, "other": PLAIN}),
    "defer": (run_defer, {"id": PLAIN, "--until": EMPTY}),
    "show": (run_show, {"id": PLAIN}),
    "update": (
        run_update,
        {
            "id": PLAIN,
            "--claim": FLAG,
            **dict.fromkeys(("-s --status", "-a --assignee", "--append-notes", "--metadata"), PLAIN),
            **dict.fromkeys(("--set-metadata", "--unset-metadata"), LIST),
        },
    ),
    "close": (run_close, {"id": PLAIN, "-r --reason": EMPTY}),
    "list": (
        run_list,
        {
            "--all": FLAG,
            "--limit": {"type": int, "default": 50},
            "--has-metadata-key": PLAIN,
            "--metadata-field": PLAIN,
        },
    ),
    "version": (run_version, PLAIN),
}

if __name__ == "__main__":
    sys.exit(main())
