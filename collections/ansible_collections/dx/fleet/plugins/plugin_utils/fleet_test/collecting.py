# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet test out of what the modules returned on each VM: others' text, so bounded and redacted."""

from __future__ import annotations

import base64
import binascii
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..text.redact import redact, secrets_of
from .junit import ReportUnreadable, cases_in
from .results import Case, Counts, Run, RunState, Trouble, VMTest

__all__ = ["VMResults", "vm_tests"]

OUTPUT = 4000  # characters of the end of a command's output
MAX_REPORT = 32 << 20  # bytes of one report, unpacked

_STATES = {"verified": RunState.PASSED, "failed": RunState.FAILED}
_WHOLE_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

VMResults = tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]
"""A VM, what making its worktree returned there, and what the runs of the tests did; None: it was not run."""


def vm_tests(results: Iterable[VMResults], ref: str) -> tuple[VMTest, ...]:
    """Each VM's runs, or its trouble. One that is at another commit than the rest is in trouble.

    Args:
        results: By VM.
        ref: What was asked for; a whole commit id is what each VM has to be at.
    """
    found = [_vm_test(*each) for each in results]
    wanted = ref.lower() if _WHOLE_COMMIT.fullmatch(ref.lower()) else _usual(found)
    return tuple(_at(wanted, each) for each in found)


def _usual(found: Sequence[VMTest]) -> str | None:
    """The commit at which most VMs are."""
    commits = Counter(each.commit for each in found if each.commit is not None)
    return commits.most_common(1)[0][0] if commits else None


def _at(wanted: str | None, found: VMTest) -> VMTest:
    if found.commit in (None, wanted):
        return found
    words = f"it is at {str(found.commit)[:12]}, not at {str(wanted)[:12]}"
    trouble = Trouble("other_commit", words, "name the commit by its whole id: --ref SHA")
    return replace(found, runs=(), trouble=trouble)


def _vm_test(vm: str, made: Mapping[str, Any] | None, tested: Mapping[str, Any] | None) -> VMTest:
    if made is None:
        return VMTest(vm, trouble=Trouble("not_run", "the run ended before its turn"))
    if made.get("unreachable") or made.get("failed"):
        return VMTest(vm, trouble=_trouble(vm, made))
    commit = str(made["head"]) if made.get("head") else None
    if tested is None:
        return VMTest(vm, commit=commit, trouble=Trouble("not_run", "the run ended before the tests began"))
    items = tested.get("results")
    runs = [each for each in items if not each.get("skipped")] if isinstance(items, list) else [tested]
    if runs and (runs[0].get("unreachable") or "verdict" not in runs[0]):
        return VMTest(vm, commit=commit, trouble=_trouble(vm, runs[0]))
    return VMTest(vm, tuple(_run(vm, number, each) for number, each in enumerate(runs, 1)), commit)


def _trouble(vm: str, result: Mapping[str, Any]) -> Trouble:
    if result.get("unreachable"):
        return Trouble(
            "unreachable",
            _clean(result.get("msg") or "Ansible does not reach it", 500),
            f"see that it is up and that SSH reaches it: ansible {vm} -m ansible.builtin.ping",
        )
    advice = result.get("next_action")
    message = str(result.get("msg") or "the module failed").removesuffix(f". Next: {advice}")
    return Trouble(
        str(result.get("reason_code") or "module_failed"),
        _clean(message, 500),
        _clean(advice, 500) if advice else "run the playbook dx.fleet.fleet_test with -vvv",
    )


def _run(vm: str, number: int, result: Mapping[str, Any]) -> Run:
    if "verdict" not in result:
        trouble = _trouble(vm, result)
        return Run(number, RunState.UNKNOWN, trouble.reason_code, trouble.message)
    return Run(
        number=number,
        state=_STATES.get(str(result["verdict"]), RunState.UNKNOWN),
        reason_code=str(result.get("reason_code") or "unknown"),
        message=_clean(result.get("message") or "", 500),
        seconds=result.get("duration_s"),
        counts=_counts(result.get("tests")),
        cases=_cases(result.get("reports")) if not result.get("reports_left_out") else None,
        output=_clean(result.get("output_tail") or "", OUTPUT),
    )


def _counts(tests: Mapping[str, Any] | None) -> Counts | None:
    if tests is None:
        return None
    return Counts(*(int(tests.get(name) or 0) for name in ("passed", "failed", "errors", "skipped")))


def _cases(reports: Sequence[Mapping[str, Any]] | None) -> tuple[Case, ...] | None:
    """Every test of the reports; None where there is no report, or one can't be read."""
    if not reports:
        return None
    try:
        found = [case for report in reports for case in cases_in(_unpacked(report))]
    except (ReportUnreadable, binascii.Error, zlib.error, KeyError, ValueError):
        return None
    return tuple(
        replace(case, id=_clean(case.id, 500), suite=_clean(case.suite, 300), message=_clean(case.message))
        for case in found
    )


def _unpacked(report: Mapping[str, Any]) -> bytes:
    data = zlib.decompressobj()
    return data.decompress(base64.b64decode(report["zlib"], validate=True), MAX_REPORT)


def _clean(text: Any, width: int = OUTPUT) -> str:
    """Without secrets; of what is too long, the end."""
    return redact(str(text), secrets_of(os.environ))[-width:]
