# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees of a fleet test: on a terminal, in Slack, and on a page of its own."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.matrix import Matrix
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.page import page_of
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.results import FleetTest
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.text_report import lines_of, sentence_of

from .runs import broken, counted, fleet_test, vm

MIXED = fleet_test(
    vm("homedesktop", "x+ y+ two/z+", "x+ y+ two/z+"),
    vm("macmini", "x- y+", "x+ y+"),
    broken("epyc6"),
)


def lines(test: FleetTest) -> list[str]:
    return list(lines_of(test, Matrix.of(test)))


def test_the_matrix_has_suites_down_and_vms_across() -> None:
    assert lines(MIXED) == [
        "affordabot at 8f14e45fceea: make test",
        "",
        "suite  homedesktop  macmini",
        "two    1 passed     -",
        "unit   2 passed     1 passed, 1 flaky",
        "",
        "homedesktop: 2 of 2 runs passed",
        "macmini: 1 of 2 runs passed; run 1 failed: 1 of 2 failed",
        "epyc6: could not run: no route to host (unreachable)",
        "    next: see that it is up",
        "",
        "Failed (1):",
        "  x (macmini)",
        "",
        "Different (2):",
        "  x: flaky on macmini; passed on homedesktop",
        "  z: missing on macmini; passed on homedesktop",
        "",
        "Flaky (1):",
        "  x (macmini: failed 1 of 2 times)",
    ]


def test_of_many_suites_those_in_which_something_is_to_be_seen_are_shown() -> None:
    good = " ".join(f"s{number:02}/t{number}+" for number in range(40))
    shown = "\n".join(lines(fleet_test(vm("a", f"{good} bad/x-"), vm("b", f"{good} bad/x+"))))
    assert "bad" in shown
    assert "s07" not in shown
    assert "and 40 more suites that passed everywhere" in shown


def test_a_vm_whose_tests_are_only_counted_is_told_by_its_counts() -> None:
    assert lines(fleet_test(counted("a", 3)))[-1] == "a: passed: 3 passed"


def test_slack_gets_one_line_with_every_vm_and_what_differs() -> None:
    assert sentence_of(MIXED, Matrix.of(MIXED)) == (
        "homedesktop 2 of 2 runs passed; macmini 1 of 2 runs passed; run 1 failed: 1 of 2 failed;"
        " epyc6 could not run: no route to host (unreachable). Different: x, z. Flaky: x"
    )


class Page(HTMLParser):
    """What a browser would load, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [each for each in attrs if each[0] in ("src", "href", "data", "action", "style")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_no_network_and_runs_nothing_whatever_the_tests_printed() -> None:
    evil = fleet_test(
        vm("<script>alert(1)</script>", '"><img\u00a0src=x>- <\u2215style>+ url(x)-'), broken("&")
    )
    page = Page(text := page_of(evil, Matrix.of(evil)))
    assert page.open == []
    assert page.links == []
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert "default-src 'none'" in text
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(style) == 1
    assert not re.search(r"url\(|@import|http", style[0])


def test_the_page_is_for_a_phone_and_for_both_colours() -> None:
    text = page_of(MIXED, Matrix.of(MIXED))
    assert 'name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme:dark" in text


def test_the_page_has_the_matrix_the_differences_the_flaky_and_what_failed() -> None:
    text = page_of(MIXED, Matrix.of(MIXED))
    for heading in ("VMs", "Suites", "Tests that differ between VMs", "Flaky tests", "What failed"):
        assert f"<h2>{heading}</h2>" in text
    assert '<td class="failed" data-vm="macmini">1 passed, 1 flaky</td>' in text
    assert '<td class="missing" data-vm="macmini">missing</td>' in text
    assert "&lt;b&gt;no&lt;/b&gt; &amp;" in text
    same = fleet_test(vm("a", "x+"), vm("b", "x+"))
    assert "every test ended the same" in page_of(same, Matrix.of(same))
    skipped = fleet_test(vm("a", "x~"), vm("b", "x+"))
    assert '<td class="skipped" data-vm="a">1 skipped</td>' in page_of(skipped, Matrix.of(skipped))
