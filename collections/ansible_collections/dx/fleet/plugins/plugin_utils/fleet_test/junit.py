# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JUnit XML: what the runners of the VMs wrote, and one document of all VMs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any
from xml.etree.ElementTree import ParseError

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import JUnitXmlError

from .results import Case, CaseState, FleetTest, Run, RunState, VMTest

__all__ = ["ReportUnreadable", "cases_in", "junit_of"]

MESSAGE = 4000  # characters of what one test printed

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class ReportUnreadable(ValueError):
    """It is no JUnit XML."""


def cases_in(xml: bytes) -> list[Case]:
    """Every test of a report.

    A test's suite is the report's test suite or, in a report that has only one, the test's class: for many
    runners the one is just their name.

    Raises:
        ReportUnreadable: It is no JUnit XML, or has a document type, which JUnit has not.
    """
    if re.search(rb"<!(DOCTYPE|ENTITY)", xml, re.IGNORECASE):
        raise ReportUnreadable("it declares a document type")
    try:
        root = JUnitXml.fromstring(xml)
        suites = [root] if isinstance(root, TestSuite) else list(root)
        found = [(str(suite.name or ""), list(suite)) for suite in suites]  # with those of the suites in it
    except (JUnitXmlError, ParseError, ValueError, LookupError) as error:
        raise ReportUnreadable(" ".join(str(error).split())[:200]) from error
    except RecursionError as error:
        raise ReportUnreadable("it is nested too deeply") from error
    named = [(name, cases) for name, cases in found if cases]
    return [_case(case, name if len(named) > 1 else None) for name, cases in named for case in cases]


def _case(case: TestCase, suite: str | None) -> Case:
    name, group = str(case.name or ""), str(case.classname or "")
    results = list(case.result)
    kinds = [_STATES[type(each).__name__] for each in results if type(each).__name__ in _STATES]
    state = max(kinds, key=_ORDER.index, default=CaseState.PASSED)
    said = "\n".join(filter(None, (f"{each.message or ''}\n{each.text or ''}".strip() for each in results)))
    try:
        seconds = float(case.time or 0.0)
    except ValueError:
        seconds = 0.0
    return Case(
        id=f"{group}::{name}" if group else name,
        suite=suite or group or name,
        state=state,
        seconds=seconds,
        message=said[:MESSAGE] if state.bad else "",
    )


_STATES = {"Failure": CaseState.FAILED, "Error": CaseState.ERROR, "Skipped": CaseState.SKIPPED}
_ORDER = list(CaseState)


def junit_of(test: FleetTest) -> bytes:
    """One JUnit XML of all VMs: a suite for each suite of each run, with the VM as its host.

    A VM that could not run the tests has a suite with one error; a run of which the tests are not known one
    by one has one test, the command.
    """
    xml = JUnitXml(_clean(f"{test.repo} {test.commit or test.ref}"))
    for vm in test.vms:
        for suite in _suites(vm, test.command):
            suite.hostname = _clean(vm.vm)
            suite.add_property("vm", _clean(vm.vm))
            suite.add_property("commit", vm.commit or "")
            suite.update_statistics()
            xml.add_testsuite(suite)
    xml.update_statistics()
    return bytes(xml.tostring())


def _suites(vm: VMTest, command: str) -> Iterator[TestSuite]:
    for run in vm.runs:
        by_suite = groupby(sorted(run.cases or (), key=lambda case: case.suite), lambda case: case.suite)
        suffix = f" (run {run.number})" if len(vm.runs) > 1 else ""
        found = [_suite(f"{name}{suffix}", run, map(_testcase, cases)) for name, cases in by_suite]
        yield from found or [_suite(f"{command}{suffix}", run, [_command_as_case(command, run)])]
    if vm.trouble is not None:
        case = TestCase("could not run")
        case.result = [Error(_clean(vm.trouble.message), vm.trouble.reason_code)]
        yield _suite("dx-fleet", None, [case])


def _suite(name: str, run: Run | None, cases: Iterable[TestCase]) -> TestSuite:
    suite = TestSuite(_clean(name))
    if run is not None:
        suite.add_property("run", str(run.number))
    suite.add_testcases(list(cases))
    return suite


def _testcase(case: Case) -> TestCase:
    group, _, name = case.id.rpartition("::")
    found = TestCase(_clean(name), _clean(group) if group else None, case.seconds)
    found.result = _results(case.state, case.message)
    return found


def _command_as_case(command: str, run: Run) -> TestCase:
    found = TestCase(_clean(command), None, run.seconds or 0.0)
    state = {RunState.FAILED: CaseState.FAILED, RunState.UNKNOWN: CaseState.ERROR}.get(run.state)
    found.result = _results(state or CaseState.PASSED, f"{run.message}\n{run.output}")
    return found


def _results(state: CaseState, message: str) -> list[Any]:
    if state is CaseState.PASSED:
        return []
    kind = {CaseState.FAILED: Failure, CaseState.ERROR: Error, CaseState.SKIPPED: Skipped}[state]
    clean = _clean(message)
    result = kind(clean.partition("\n")[0][:300])
    result.text = clean
    return [result]


def _clean(text: str) -> str:
    """Without the characters that no XML can hold."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
