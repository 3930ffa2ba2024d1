# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JUnit reports, also such as an enemy writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.verify import counts
from ansible_collections.dx.fleet.plugins.module_utils.verify.counts import ReportUnreadable, junit


def written(folder: Path, text: str | bytes) -> str:
    path = folder / "report.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_cases_are_counted_whatever_the_suite_says(tmp_path: Path) -> None:
    text = """<?xml version="1.0"?><testsuites tests="99"><testsuite name="s" tests="99" failures="0">
        <testcase classname="a.A" name="one"/>
        <testcase classname="a.A" name="two"><failure message="m">text</failure></testcase>
        <testcase classname="a.A" name="three"><error/></testcase>
        <testcase classname="a.A" name="four"><skipped/></testcase>
        <testcase classname="a.A" name="five" status="notrun"/>
        <testcase name="six"><failure/><error/><system-out>x</system-out></testcase>
        <testcase classname="a.A" name="seven"><flakyFailure/></testcase>
    </testsuite></testsuites>"""
    found = junit([written(tmp_path, text)])
    assert (found.passed, found.failed, found.errors, found.skipped) == (2, 1, 2, 2)
    assert found.failed_names == ("a.A::two", "a.A::three", "six")
    assert found.ids is not None
    assert set(found.ids) >= {"a.A::one", "six", "a.A::five"}
    assert len(found.ids) == 7


def test_a_report_of_pytest_itself(tmp_path: Path) -> None:
    (tmp_path / "test_real.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n@pytest.mark.skip\ndef test_c(): pass\n"
        "@pytest.fixture\ndef broken(): raise OSError\ndef test_d(broken): pass\n"
        "@pytest.mark.parametrize('x', ['<&>', 'a::b'])\ndef test_e(x): pass\n"
    )
    report = tmp_path / "report.xml"
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "test_real.py"]
    subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, check=False)
    found = junit([str(report)])
    assert (found.passed, found.failed, found.errors, found.skipped) == (3, 1, 1, 1)
    assert found.ids is not None
    assert "test_real::test_e[<&>]" in found.ids


def test_several_reports_are_one(tmp_path: Path) -> None:
    paths = []
    for name in "ab":
        (tmp_path / name).mkdir()
        paths.append(written(tmp_path / name, f"<testsuite><testcase name='{name}'/></testsuite>"))
    found = junit(paths)
    assert (found.passed, found.ids) == (2, ("a", "b"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42 passed in 1.0s",
        "<testsuite><testcase name='a'/>",
        "<html><testcase name='a'/></html>",
        "<testcase name='a'/>",
        '<!DOCTYPE x [<!ENTITY a "b">]><testsuite><testcase name="a"/></testsuite>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite><testcase name="a"/></testsuite>',
        "<!DOCTYPE x><testsuite/>".encode("utf-16"),
        "<?xml version='1.0' encoding='nonsense'?><testsuite/>",
        b"<testsuite>\xff\xfe</testsuite>",
        b"\x00\x01\x02",
    ],
)
def test_what_is_no_report(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ReportUnreadable):
        junit([written(tmp_path, text)])


def test_a_report_is_a_file_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "nothing"):
        with pytest.raises(ReportUnreadable):
            junit([str(tmp_path / name)])
    monkeypatch.setattr(counts, "MAX_REPORT", 100)
    with pytest.raises(ReportUnreadable, match="larger"):
        junit([written(tmp_path, "<testsuite>" + " " * 100 + "</testsuite>")])


def test_a_very_deep_report_takes_no_stack(tmp_path: Path) -> None:
    text = "<testsuite>" * 100_000 + "<testcase name='a'/>" + "</testsuite>" * 100_000
    assert junit([written(tmp_path, text)]).passed == 1
