# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JUnit XML of all kinds of runners is read; nothing that it holds does harm; one document is written of all."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.junit import (
    ReportUnreadable,
    cases_in,
    junit_of,
)

from .runs import COMMIT, broken, counted, fleet_test, vm

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" tests="4">
<testcase classname="tests.test_a" name="test_one" time="0.5"/>
<testcase classname="tests.test_a" name="test_two"><failure message="assert 1 == 2">tests/test_a.py:3</failure></testcase>
<testcase classname="tests.test_b" name="test_three[\xc3\xbc]"><skipped message="no"/></testcase>
<testcase classname="tests.test_b" name="test_four"><failure message="f"/><error message="teardown"/></testcase>
</testsuite></testsuites>"""

GO = b"""<testsuites><testsuite name="example.com/m/a"><testcase classname="a" name="TestX" time="1,024.0"></testcase>
</testsuite><testsuite name="example.com/m/b"><testcase classname="b" name="TestX"><failure>no</failure></testcase>
</testsuite></testsuites>"""

NODE = b"""<testsuites><testsuite name="outer"><testsuite name="inner"><testcase name="deep" classname="test"/></testsuite>
<testcase name="flat" classname="test"/></testsuite></testsuites>"""

SUREFIRE = b"""<testsuite name="com.example.FooTest"><properties><property name="a" value="b"/></properties>
<testcase name="bar" classname="com.example.FooTest" time="bad"><rerunFailure message="x"/></testcase></testsuite>"""


@pytest.mark.parametrize(
    ("xml", "found"),
    [
        (
            PYTEST,
            [
                ("tests.test_a::test_one", "tests.test_a", "passed"),
                ("tests.test_a::test_two", "tests.test_a", "failed"),
                ("tests.test_b::test_three[\xfc]", "tests.test_b", "skipped"),
                ("tests.test_b::test_four", "tests.test_b", "error"),
            ],
        ),
        (GO, [("a::TestX", "example.com/m/a", "passed"), ("b::TestX", "example.com/m/b", "failed")]),
        (NODE, [("test::flat", "test", "passed"), ("test::deep", "test", "passed")]),
        (SUREFIRE, [("com.example.FooTest::bar", "com.example.FooTest", "passed")]),
        (b"<testsuites/>", []),
        (b'<testsuite><testcase name="n"/></testsuite>', [("n", "n", "passed")]),
        (b"<testsuite><testcase/></testsuite>", [("", "", "passed")]),
    ],
    ids=["pytest", "go", "nested", "one suite as root", "empty", "no class", "no name"],
)
def test_every_test_of_a_report_is_found(xml: bytes, found: list[tuple[str, str, str]]) -> None:
    assert [(case.id, case.suite, case.state.value) for case in cases_in(xml)] == found


def test_what_a_failed_test_printed_is_kept_and_bounded() -> None:
    failed = cases_in(PYTEST)[1]
    assert failed.message == "assert 1 == 2\ntests/test_a.py:3"
    long = b'<testsuite><testcase name="n"><failure>' + b"x" * 100_000 + b"</failure></testcase></testsuite>"
    assert len(cases_in(long)[0].message) == 4000


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"<html>",
        b"<testsuite>",
        b"not xml",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="nonsense"?><testsuite/>',
        b'<!DOCTYPE a [<!ENTITY b "c">]><testsuite name="&b;"/>',
        b'<!doctype a SYSTEM "file:///etc/passwd"><testsuite/>',
        b"<html><body/></html>",
        b"<testsuite>" * 5000 + b"</testsuite>" * 5000,
    ],
)
def test_what_is_no_junit_xml_is_refused_in_one_line(xml: bytes) -> None:
    with pytest.raises(ReportUnreadable) as caught:
        cases_in(xml)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_document_of_all_vms_has_every_run_and_is_read_again_the_same() -> None:
    test = fleet_test(vm("a", "x+ two/y- z~", "x+ two/y!"), counted("b", 3), counted("d", 3, 1), broken("c"))
    root = ET.fromstring(junit_of(test))
    suites = [(suite.get("hostname"), suite.get("name"), suite.get("tests")) for suite in root]
    assert suites == [
        ("a", "two (run 1)", "1"),
        ("a", "unit (run 1)", "2"),
        ("a", "two (run 2)", "1"),
        ("a", "unit (run 2)", "1"),
        ("b", "make test", "1"),
        ("d", "make test", "1"),
        ("c", "dx-fleet", "1"),
    ]
    properties = {each.get("name"): each.get("value") for each in root[0].iter("property")}
    assert properties == {"vm": "a", "commit": COMMIT, "run": "1"}
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("8", "2", "2")
    again = cases_in(junit_of(fleet_test(vm("a", "p/x+ q/y- q/z~"))))
    assert [(case.id, case.suite, case.state.value) for case in again] == [
        ("x", "p", "passed"),
        ("y", "q", "failed"),
        ("z", "q", "skipped"),
    ]


def test_no_character_breaks_the_document() -> None:
    test = fleet_test(vm("a\x00", "<x>&\x1b-"), broken("c", "\ud800 \x0b"))
    hosts = [suite.get("hostname") for suite in ET.fromstring(junit_of(test))]
    assert hosts == ["a\N{REPLACEMENT CHARACTER}", "c"]
