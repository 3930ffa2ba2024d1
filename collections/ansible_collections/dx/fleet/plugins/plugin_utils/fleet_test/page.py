# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet test as one HTML file: it opens by double-click, asks no network, and runs no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from .matrix import Cell, Matrix, Seen
from .results import FleetTest, RunState, VMTest
from .text_report import cell_text, vm_text

__all__ = ["page_of"]

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2024;--soft:#60646c;--line:#d9dbe0;--back:#fff;--box:#f6f7f9;
--good:#18794e;--bad:#c62a2f;--odd:#8f5a00}
@media(prefers-color-scheme:dark){:root{--ink:#edeef0;--soft:#a4a8b0;--line:#3a3d43;--back:#111214;--box:#1c1d21;
--good:#4cc38a;--bad:#ff8b8b;--odd:#f1b04c}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--back)}
h1{font-size:1.4rem;margin:.5rem 0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p{margin:.25rem 0}code,pre{font:14px/1.45 ui-monospace,monospace;overflow-wrap:anywhere}
pre{white-space:pre-wrap;background:var(--box);padding:.75rem;border-radius:.4rem;margin:.5rem 0}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
thead th{white-space:nowrap;color:var(--soft);font-weight:600}
tbody th{font-weight:400;min-width:9rem;overflow-wrap:anywhere}
.passed{color:var(--good)}.failed,.error{color:var(--bad)}
.unknown,.flaky,.missing{color:var(--odd)}.skipped,.soft{color:var(--soft)}
details{border-bottom:1px solid var(--line);padding:.3rem 0}summary{cursor:pointer;overflow-wrap:anywhere}
ul{padding-left:1.2rem}li{overflow-wrap:anywhere;margin:.2rem 0}
@media(max-width:40rem){thead{display:none}tr,tbody th,td{display:block;border:0;padding:.1rem 0}
tr{border-bottom:1px solid var(--line);padding:.4rem 0}tbody th{font-weight:600}
td::before{content:attr(data-vm) ": ";color:var(--soft)}}
"""

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""

_VERDICTS = {
    RunState.PASSED: "passed on every VM",
    RunState.FAILED: "failed",
    RunState.UNKNOWN: "could not be said of every VM",
}


def page_of(test: FleetTest, matrix: Matrix) -> str:
    """The whole page. Everything that others wrote is escaped."""
    title = f"{test.repo} {(test.commit or test.ref)[:12]}: {_VERDICTS[test.state]}"
    parts = [
        _HEAD.format(title=escape(title), style=_STYLE),
        *_summary(test),
        *_vms(test),
        *_matrix(matrix),
        *_differences(matrix),
        *_flaky(matrix),
        *_failing(matrix),
        *_output(test),
        "</body>\n</html>\n",
    ]
    return "".join(parts)


def _summary(test: FleetTest) -> Iterator[str]:
    yield f'<h1>{escape(test.repo)}: <span class="{test.state}">{_VERDICTS[test.state]}</span></h1>\n'
    yield f"<p>Commit <code>{escape(test.commit or test.ref)}</code></p>\n"
    yield f"<p>Command <code>{escape(test.command)}</code></p>\n"
    yield f'<p class="soft">{escape(test.started_at)}, {test.seconds:.0f} s</p>\n'


def _vms(test: FleetTest) -> Iterator[str]:
    yield "<h2>VMs</h2>\n<ul>\n"
    for vm in test.vms:
        yield f'<li><b>{escape(vm.vm)}</b>: <span class="{vm.state}">{escape(vm_text(vm))}</span>'
        if vm.trouble is not None and vm.trouble.next_action:
            yield f"<br>Next: <code>{escape(vm.trouble.next_action)}</code>"
        yield "</li>\n"
    yield "</ul>\n"


def _matrix(matrix: Matrix) -> Iterator[str]:
    if not matrix.cells:
        return
    yield "<h2>Suites</h2>\n"
    rows = (
        [_th(suite), *(_cell(vm, cells.get(vm)) for vm in matrix.vms)]
        for suite, cells in matrix.cells.items()
    )
    yield from _table(["Suite", *matrix.vms], rows)


def _differences(matrix: Matrix) -> Iterator[str]:
    if len(matrix.vms) < 2:
        return
    yield "<h2>Tests that differ between VMs</h2>\n"
    if not matrix.differences:
        yield "<p>None: every test ended the same on all of them.</p>\n"
        return
    rows = ([_th(each.id), *(_state(vm, each.vms[vm]) for vm in matrix.vms)] for each in matrix.differences)
    yield from _table(["Test", *matrix.vms], rows)


def _flaky(matrix: Matrix) -> Iterator[str]:
    if not matrix.flaky:
        return
    yield "<h2>Flaky tests</h2>\n<ul>\n"
    for each in matrix.flaky:
        times = f"failed {each.failed} of {each.runs} times on {escape(each.vm)}"
        yield f'<li><code>{escape(each.id)}</code>: <span class="flaky">{times}</span></li>\n'
    yield "</ul>\n"


def _failing(matrix: Matrix) -> Iterator[str]:
    if not matrix.failing:
        return
    yield "<h2>What failed</h2>\n"
    for each in matrix.failing:
        yield f"<details><summary><b>{escape(each.vm)}</b> <code>{escape(each.id)}</code></summary>"
        yield f"<pre>{escape(each.message or '(it printed nothing)')}</pre></details>\n"


def _output(test: FleetTest) -> Iterator[str]:
    shown = [(vm, run) for vm in test.vms for run in vm.runs if run.output and run.state != RunState.PASSED]
    if not shown:
        return
    yield "<h2>End of the output</h2>\n"
    for vm, run in shown:
        yield f"<details><summary><b>{escape(vm.vm)}</b>{_number(vm, run.number)}</summary>"
        yield f"<pre>{escape(run.output)}</pre></details>\n"


def _number(vm: VMTest, number: int) -> str:
    return f" run {number}" if len(vm.runs) > 1 else ""


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield '<div class="scroll"><table>\n<thead><tr>'
    yield from (f"<th>{escape(head)}</th>" for head in heads)
    yield "</tr></thead>\n<tbody>\n"
    for row in rows:
        yield f"<tr>{''.join(row)}</tr>\n"
    yield "</tbody>\n</table></div>\n"


def _th(text: str) -> str:
    return f'<th scope="row">{escape(text)}</th>'


def _cell(vm: str, cell: Cell | None) -> str:
    kind = "soft" if cell is None else "failed" if cell.bad else "passed" if cell.passed else "skipped"
    return _td(vm, kind, cell_text(cell))


def _state(vm: str, seen: Seen) -> str:
    return _td(vm, str(seen), seen.value)


def _td(vm: str, kind: str, text: str) -> str:
    """A cell that names its column, which a phone has no room to show."""
    return f'<td class="{kind}" data-vm="{escape(vm)}">{escape(text)}</td>'
