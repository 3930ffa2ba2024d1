# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a command declares its options, and the values that are understood."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.options import (
    Options,
    amount,
    count,
    flag,
    option,
    seconds,
    words,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.parser import parse
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError


@dataclass(frozen=True)
class Example(Options):
    """Do something."""

    words: tuple[str, ...] = words("VM", help="a VM", most=1)
    ttl: float | None = option("--ttl", type=seconds, metavar="TIME", help="so long")
    dry_run: bool = flag("--dry-run", help="do nothing")


@dataclass(frozen=True)
class Wordless(Options):
    """Do another thing."""


def typed(*argv: str, options: type[Options] = Example) -> Options:
    return parse(options, "dx-fleet example", argv, "dx-fleet example")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        ("1e3", 1000),
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1h30m5s", 5405),
        ("1.5h", 5400),
        ("2d", 172800),
        ("0s", 0),
    ],
)
def test_a_time_is_understood_as_people_write_it(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "-1",
        "-1s",
        "nan",
        "inf",
        "1e99",
        "10 m",
        "m",
        "30m1h",
        "1h1h",
        "5x",
        "1.h",
        "99999999d",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a time such as|is too much"):
        seconds(text)


@pytest.mark.parametrize(
    ("kind", "text"), [(amount, "cheap"), (amount, "-0.1"), (count, "1.5"), (count, "-1")]
)
def test_what_is_no_number_is_refused(kind: type, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="0 or more"):
        kind(text)


def test_what_was_not_typed_has_the_fields_default() -> None:
    assert typed() == Example()
    assert typed(options=Wordless) == Wordless()


def test_what_was_typed_is_in_its_field_wherever_it_stands() -> None:
    expected = Example(json=True, inventory=Path("f"), verbose=2, words=("epyc6",), ttl=600, dry_run=True)
    assert typed("--json", "-i", "f", "-vv", "epyc6", "--ttl", "10m", "--dry-run") == expected
    assert typed("--ttl=10m", "-v", "--dry-run", "-i", "f", "--json", "-v", "--", "epyc6") == expected


@pytest.mark.parametrize(
    ("argv", "options", "said"),
    [
        (("a", "b"), Example, "'b' is one word too many: dx-fleet example takes at most 1"),
        (("a", "--", "--ttl"), Example, "'--ttl' is one word too many"),
        (("a",), Wordless, "'a' is one word too many"),
        (("--", "a"), Wordless, "'a' is one word too many: dx-fleet example takes none"),
        (("--dry-rn",), Example, "there is no option '--dry-rn'; did you mean --dry-run?"),
        (("--jsn=1",), Example, "there is no option '--jsn'; did you mean --json?"),
        (("--zzz",), Example, "there is no option '--zzz'"),
        (("--ttl",), Example, "argument --ttl: expected one argument"),
        (("--ttl", "soon"), Example, "argument --ttl: 'soon' is not a time such as 90, 90s, 10m or 1h30m"),
        (("--ttl", "1", "--dry-run=yes"), Example, "argument --dry-run: ignored explicit argument 'yes'"),
    ],
)
def test_what_cannot_be_meant_is_refused(argv: tuple[str, ...], options: type[Options], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        typed(*argv, options=options)
    assert caught.value.message.startswith(said)
    assert (caught.value.reason_code, caught.value.next_action) == ("usage", "dx-fleet example --help")


@pytest.mark.parametrize("options", [Example, Wordless])
def test_help_names_every_option_once(options: type[Options], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        typed("--help", options=options)
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert (options.__doc__ or "-") in told
    names = ["--json", "--inventory FILE", "--verbose", "--version"]
    names += ["--ttl TIME", "--dry-run"] if options is Example else []
    assert [told.count(f"{name} ") + told.count(f"{name}\n") for name in names] == [1] * len(names)
