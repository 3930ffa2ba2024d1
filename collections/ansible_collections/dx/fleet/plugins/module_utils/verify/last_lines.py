# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines by which test runners say how many tests ran.

What a command prints can be printed by anything, so these numbers are worth less than a report's. Their
source is given with them.
"""

from __future__ import annotations

import re
import typing as t

from .counts import MAX_NAMES, Counts

__all__ = ["last_lines"]

Found = dict[str, int]
_KINDS = {
    "passed": ("passed", "pass", "passing", "xpassed", "ok"),
    "failed": ("failed", "fail", "failing", "failures", "failure", "cancelled", "unexpected successes"),
    "errors": ("error", "errors"),
    "skipped": (
        *("skipped", "skip", "skips", "pending", "ignored", "todo", "xfailed", "deselected"),
        "expected failures",
    ),
}  # fmt: skip
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}


def last_lines(text: str) -> Counts | None:
    """The counts in a command's output; None: no runner that is known said any.

    Args:
        text: The output as a terminal shows it.
    """
    found: list[tuple[str, Found]] = []
    for name, read in _RUNNERS.items():
        counts = read(text)
        if counts is not None:
            found.append((name, counts))
    says_none = bool(_SAYS_NONE.search(text))
    if not found and not says_none:
        return None
    passed, failed, errors, skipped = (sum(counts.get(kind, 0) for _, counts in found) for kind in _KINDS)
    names = tuple(dict.fromkeys(name for pattern in _FAILED for name in pattern.findall(text)))
    source = "output: " + (", ".join(name for name, _ in found) or "no tests")
    return Counts(source, passed, failed, errors, skipped, names[:MAX_NAMES], says_none=says_none)


def _listed(pattern: str, body: str = r"(\d+) ([a-z]+(?: failures)?)") -> t.Callable[[str], Found | None]:
    """Lines such as ``1 failed, 2 passed``: what the first group holds, number before word; summed."""
    line, part = re.compile(pattern, re.MULTILINE), re.compile(body)

    def read(text: str) -> Found | None:
        lines = [found.group(1) for found in line.finditer(text)]
        return _summed(part.findall(each) for each in lines) if lines else None

    return read


def _named(pattern: str) -> t.Callable[[str], Found | None]:
    """Lines whose groups are named for what they count; ``total`` counts what is not named."""
    line = re.compile(pattern, re.MULTILINE)

    def read(text: str) -> Found | None:
        lines = list(line.finditer(text))
        if not lines:
            return None
        counts: Found = {}
        for found in lines:
            numbers = {kind: int(value) for kind, value in found.groupdict().items() if value is not None}
            if "total" in numbers:
                total = numbers.pop("total")
                numbers["passed"] = max(0, total - sum(numbers.values()))
            for kind, number in numbers.items():
                counts[kind] = counts.get(kind, 0) + number
        return counts

    return read


def _summed(parts: t.Iterable[t.Iterable[tuple[str, str]]]) -> Found:
    counts: Found = {}
    for line in parts:
        for number, word in line:
            kind = _KIND_OF.get(word)
            if kind:
                counts[kind] = counts.get(kind, 0) + int(number)
    return counts


def _unittest(text: str) -> Found | None:
    counts: Found | None = None
    pattern = r"^Ran (\d+) tests? in [\d.]+s\n+(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$"
    for total, rest in re.findall(pattern, text, re.MULTILINE):
        others = _summed([[(number, word) for word, number in re.findall(r"([a-z][a-z ]*)=(\d+)", rest)]])
        passed = max(0, int(total) - sum(others.values()))
        counts = {kind: (counts or {}).get(kind, 0) + others.get(kind, 0) for kind in _KINDS}
        counts["passed"] += passed
    return counts


def _go(text: str) -> Found | None:
    """By single tests (-v), else by packages, whose tests are not counted then."""
    ends = re.findall(r"^\s*--- (PASS|FAIL|SKIP): \S+ \([\d.]+s\)$", text, re.MULTILINE)
    packages = re.findall(
        r"^(ok|FAIL)\s+\S+\s+(?:[\d.]+s|\(cached\)|\[build failed\])(.*)$", text, re.MULTILINE
    )
    if not packages:
        return None
    failed = sum(end == "FAIL" for end, _ in packages)
    if ends:
        passed, skipped = ends.count("PASS"), ends.count("SKIP")
        return {"passed": passed, "failed": max(failed, ends.count("FAIL")), "skipped": skipped}
    return {
        "passed": sum(end == "ok" and "no tests to run" not in rest for end, rest in packages),
        "failed": failed,
    }


def _node(text: str) -> Found | None:
    lines = re.findall(r"^(?:#|\u2139) (pass|fail|cancelled|skipped|todo) (\d+)$", text, re.MULTILINE)
    return _summed([[(number, word) for word, number in lines]]) if lines else None


def _tap(text: str) -> Found | None:
    """The Test Anything Protocol; node's is read by its own last lines."""
    if not re.search(r"^1\.\.\d+$", text, re.MULTILINE) or _node(text) is not None:
        return None
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for bad, rest in re.findall(r"^(not )?ok\b(.*)$", text, re.MULTILINE):
        kind = (
            "skipped" if re.search(r"# (skip|todo)", rest, re.IGNORECASE) else "failed" if bad else "passed"
        )
        counts[kind] += 1
    return counts


_RUNNERS: t.Mapping[str, t.Callable[[str], Found | None]] = {
    "pytest": _listed(
        r"^(?:=+ )?"
        r"((?:\d+ (?:failed|passed|skipped|deselected|xfailed|xpassed|warnings?|errors?|rerun)(?:, )?)+)"
        r" in [\d.]+s(?: \([\d:.]+\))?(?: =+)?$"
    ),
    "unittest": _unittest,
    "go test": _go,
    "cargo test": _listed(
        r"^test result: (?:ok|FAILED)\. (.*?);? \d+ filtered out", r"(\d+) (passed|failed|ignored)"
    ),
    "cargo nextest": _listed(r"^\s*Summary \[[^\]]*\]\s+[\d/]+ tests? run: (.*)$"),
    "jest": _listed(r"^Tests:\s+(.*), \d+ total$"),
    "vitest": _listed(r"^\s*Tests\s+(.*\d+ (?:passed|failed|skipped|todo).*) \(\d+\)$"),
    "node --test": _node,
    "mocha": _listed(r"^\s+(\d+ (?:passing|failing|pending))\b"),
    "maven": _named(
        r"^(?:\[\w+\]\s*)?Tests run: (?P<total>\d+), Failures: (?P<failed>\d+), Errors: (?P<errors>\d+),"
        r" Skipped: (?P<skipped>\d+)$"
    ),
    "gradle": _named(
        r"^(?P<total>\d+) tests? completed(?:, (?P<failed>\d+) failed)?(?:, (?P<skipped>\d+) skipped)?$"
    ),
    "rspec": _named(r"^(?P<total>\d+) examples?, (?P<failed>\d+) failures?(?:, (?P<skipped>\d+) pending)?"),
    "minitest": _named(
        r"^(?P<total>\d+) (?:runs|tests), \d+ assertions, (?P<failed>\d+) failures, (?P<errors>\d+) errors,"
        r" (?P<skipped>\d+) (?:skips|pendings)"
    ),
    "exunit": _named(
        r"^(?:\d+ doctests?, )?(?P<total>\d+) tests?, (?P<failed>\d+) failures?"
        r"(?:, (?P<skipped>\d+) skipped)?$"
    ),
    "phpunit": _named(
        r"^(?:OK \((?P<total>\d+) tests?, \d+ assertions?\)|Tests: (?P<passed>\d+), Assertions: \d+"
        r"(?:, Errors: (?P<errors>\d+))?(?:, Failures: (?P<failed>\d+))?.*\.)$"
    ),
    "ctest": _named(r"^\d+% tests passed, (?P<failed>\d+) tests? failed out of (?P<total>\d+)"),
    "dotnet test": _named(
        r"^\s*(?:Passed|Failed|Skipped)!\s+- Failed:\s+(?P<failed>\d+), Passed:\s+(?P<passed>\d+),"
        r" Skipped:\s+(?P<skipped>\d+)"
    ),
    "deno test": _listed(r"^(?:ok|FAILED) \| (.*\d+ (?:passed|failed).*) \([\d.]+m?s\)$"),
    "bun test": _listed(r"^\s*(\d+ (?:pass|fail|skip))$"),
    "swift test": _named(r"^Executed (?P<total>\d+) tests?, with (?P<failed>\d+) failures?"),
    "tap": _tap,
}

_SAYS_NONE = re.compile(
    r"^(?:=+ )?no tests ran\b|^collected 0 items|^Ran 0 tests\b|^NO TESTS RAN|\[no test files\]"
    r"|\[no tests to run\]|^No tests found\b|^No test files found\b|^\s+0 passing\b|No tests to run\."
    r"|^(?:\[\w+\] )?No tests were executed"
    r"|^make(?:\[\d+\])?: (?:Nothing to be done for|'[^']+' is up to date)|^No tests executed!|^# tests 0$"
    r"|^No tests were found!!!",
    re.MULTILINE,
)

_FAILED = [
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^(?:FAILED|ERROR) (\S+::.*?)(?: - .*)?$",  # pytest
        r"^(?:FAIL|ERROR): (\w+ \([\w.]+\))",  # unittest
        r"^\s*--- FAIL: (\S+) \(",  # go
        r"^test (\S+) \.\.\. FAILED",  # cargo
        r"^\s*\u25cf (.+ \u203a .+)$",  # jest
        r"^\s*FAIL +(\S+ > .+)$",  # vitest
        r"^not ok \d+ -? ?([^#\n]+?)\s*$",  # TAP
        r"^\[ERROR\]\s+([\w.$]+\.\w+):\d+",  # maven
    )
]
