# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``verify_work`` does, apart from Ansible: its options in, its result out."""

from __future__ import annotations

import hashlib
import os
import typing as t
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from ..file_lock import Held, file_lock
from ..git.commands import worktree
from ..git.errors import GitError, Refused, RepositoryBusy
from ..git.names import slug
from ..specs import GIT_WORKTREE, complete
from .changed_checks import check_files, is_test_file
from .command import Run, end_marked, run
from .counts import Counts, ReportUnreadable, junit
from .evidence import Evidence, Tree
from .last_lines import last_lines
from .output import Output, folder, plain
from .report import Reports
from .verdict import Seen, Verdict, judge

__all__ = ["verify"]

LOCK = "dx-fleet-check.lock"
_REPORTS = 16 << 20  # bytes of reports that are returned
_READ = 1 << 18  # bytes of the output's end in which a runner's last lines are looked for


@dataclass(frozen=True)
class _Checked:
    """One run of the check, and what it left to read."""

    run: Run
    counts: Counts | None
    report: str | None
    report_problem: str
    output_file: str
    output_end: str
    ended_before: int
    packed: tuple[list[dict[str, str]], int] | None


def verify(options: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """Run the verify command, and judge the work by it.

    Args:
        options: Those of the module, with all defaults.
        check: Run nothing; only look at what the work did.

    Returns:
        The module's result.

    Raises:
        GitError: There is no worktree that can be looked at.
    """
    tree = Tree(os.path.abspath(os.path.expanduser(options["path"])), options["remote_timeout"])
    for pattern in options["report"]:
        if os.path.isabs(pattern) or ".." in pattern.split("/"):
            raise Refused(
                f"the report {pattern} is not in the worktree",
                "name it relative to the worktree",
                "report_outside",
            )
    with _alone(tree, options["lock_timeout"]):
        found = tree.evidence(options["base"], options["branch"], options["ask_remote"])
        found = _without_reports(found, Reports(tree.path, options["report"]))
        if check:
            return {"changed": False, **_facts(tree, found, options)}
        result = _verified(tree, found, options)
    return {**result, "unlocked": _unlock(options)} if options["unlock"] else result


def _unlock(options: t.Mapping[str, t.Any]) -> bool:
    """Whether others may have the worktree now. It saves a module of its own, 0.3 s over SSH."""
    of_it = {"path": options["path"], "dispatch": options["dispatch"], "locked": False, "fetch": False}
    try:
        worktree(complete({**options["unlock"], **of_it}, GIT_WORKTREE), False)
    except (GitError, OSError):  # the verdict stands; who asked tries again, and says why it can't be
        return False
    return True


def _verified(tree: Tree, found: Evidence, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    facts = _facts(tree, found, options)
    if options["expect_changes"] and not found.changed:
        nothing = judge(Seen(Run(None, 0.0), changed=False, expects_changes=True))
        return {"changed": False, **facts, **_judged(nothing)}
    checked = _checked(tree, options)
    head_after, after = tree.head(), tree.status()
    seen = Seen(
        checked.run,
        checked.counts,
        checked.report,
        checked.report_problem,
        checked.output_end,
        needs_counts=options["counts"] == "required",
        check_files=() if options["allow_changed_check"] else tuple(facts["check_files_changed"]),
        test_files=tuple(path for path in facts["tests_changed"] if tree.had(found.head_before, path)),
        head_moved=head_after != found.head,
    )
    before = [list(found.dirty_files), list(found.untracked_files)]
    return {
        "changed": head_after != found.head or [each[:200] for each in after] != before,
        **facts,
        "head_after": head_after,
        **_judged(judge(seen)),
        **_of_the_run(checked, options["tail"]),
    }


def _without_reports(found: Evidence, reports: Reports) -> Evidence:
    """A report that the agent's own test run wrote is no work."""
    names = set(reports.names()) & set(found.untracked_files)
    return replace(
        found,
        untracked_files=tuple(name for name in found.untracked_files if name not in names),
        changed=tuple(name for name in found.changed if name not in names),
    )


def _checked(tree: Tree, options: t.Mapping[str, t.Any]) -> _Checked:
    marker = hashlib.sha256(os.fsencode(tree.path)).hexdigest()[:24]
    ended_before = end_marked(marker)
    reports = Reports(tree.path, options["report"])
    reports.clear(tree.git)
    name = slug(options["dispatch"] or tree.path.strip("/"))
    output = Output(os.path.join(folder(os.environ), f"{name}.log"), options["output_limit"] << 20)
    ended = run(options["command"], tree.path, options["timeout"], output, marker, _environment())
    text = plain(_end_of(output.path))
    counts, state, problem = _counted(reports, options, text)
    packed = reports.packed(_REPORTS) if options["return_reports"] else None
    return _Checked(ended, counts, state, problem, output.path, text, ended_before, packed)


def _counted(
    reports: Reports, options: t.Mapping[str, t.Any], text: str
) -> tuple[Counts | None, str | None, str]:
    """The counts, the state of the report, and what is wrong with it."""
    printed = last_lines(text)
    if not options["report"]:
        return printed, None, ""
    state, paths = reports.written()
    if state != "fresh":
        return printed, state, ""
    try:
        counts = junit(paths)
    except ReportUnreadable as error:
        return printed, "unreadable", str(error)
    if counts.total == 0:
        return printed or counts, "empty", ""
    return counts, "fresh", ""


def _facts(tree: Tree, found: Evidence, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the work did, as the module returns it."""
    facts = asdict(found)
    changed = facts.pop("changed")
    files = check_files(
        options["command"],
        changed,
        lambda path: tree.text(found.head_before, path) if found.head_before else None,
        lambda path: tree.text(None, path),
    )
    return {
        **facts,
        "path": tree.path,
        "has_changes": bool(changed),
        "tests_changed": [path for path in changed if is_test_file(path)][:200],
        "check_files_changed": files[:200],
    }


def _of_the_run(checked: _Checked, tail: int) -> dict[str, t.Any]:
    counts = checked.counts
    tests = None if counts is None else {**asdict(counts), "ran": counts.ran, "total": counts.total}
    ended = checked.run
    packed = {} if checked.packed is None else dict(zip(("reports", "reports_left_out"), checked.packed))
    return {
        **packed,
        "rc": ended.rc,
        "duration_s": ended.seconds,
        "timed_out": ended.timed_out,
        "tests": tests,
        "report": checked.report,
        "processes_left": ended.left,
        "processes_left_commands": list(ended.left_commands),
        "processes_alive": ended.alive,
        "processes_proven": ended.proven,
        "processes_ended_before": checked.ended_before,
        "output_file": checked.output_file,
        "output_tail": checked.output_end[-tail:] if tail else "",
    }


def _judged(verdict: Verdict) -> dict[str, t.Any]:
    return {"verdict": verdict.state, "reason_code": verdict.reason_code, "message": verdict.message}


@contextmanager
def _alone(tree: Tree, timeout_s: float) -> t.Iterator[None]:
    """One check of a worktree at a time; one that was killed holds on till its supervisor has tidied up."""
    try:
        with file_lock(os.path.join(tree.admin, LOCK), "verify_work", timeout_s):
            yield
    except Held as held:
        raise RepositoryBusy(
            f"{tree.path} is checked by {held} for more than {timeout_s:g} s",
            "wait for it, or see what that process does",
            "check_busy",
        ) from None


def _environment() -> dict[str, str]:
    """This process' own, without what would lead git elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def _end_of(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _READ))
        return file.read().decode("utf-8", "replace")
