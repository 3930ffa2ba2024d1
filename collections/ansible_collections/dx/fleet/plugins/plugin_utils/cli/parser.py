# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the words of a command line to the options of a command, and from a wrong word to the one meant."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ..domain.errors import UsageError
from ..domain.task import is_text
from .options import Options

__all__ = ["check_words", "did_you_mean", "fill", "parse", "plain_parser", "split_at_dashes", "version"]

GALAXY = Path(__file__).parents[3] / "galaxy.yml"

O = TypeVar("O", bound=Options)  # noqa: E741


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, reason_code="usage", next_action=f"{self.prog} --help")


class _Version(argparse.Action):
    """Prints what runs here."""

    def __init__(self, option_strings: Sequence[str], **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from ansible.release import __version__ as of_ansible

        python = ".".join(map(str, sys.version_info[:3]))
        print(f"{parser.prog.split()[0]} {version()} (ansible-core {of_ansible}, Python {python})")
        parser.exit()


def version() -> str:
    """This collection's own version, which is that of the package."""
    lines = GALAXY.read_text(encoding="utf-8").splitlines()
    return next(line.split()[1] for line in lines if line.startswith("version:"))


def parse(options: type[O], prog: str, argv: Sequence[str], usage: str, epilog: str = "") -> O:
    """The options of a command line.

    Raises:
        UsageError: They can't be meant.
        SystemExit: After ``--help`` and ``--version``.
    """
    before, after = split_at_dashes(argv)
    parser = fill(plain_parser(prog, usage, options.__doc__ or "", epilog), options)
    typed, unknown = parser.parse_known_intermixed_args(before)
    given = vars(typed)
    given["words"] = (*given.get("words", ()), *after)
    _check_known(parser, unknown)
    _check_count(options, prog, given["words"])
    if _words_field(options) is None:
        del given["words"]
    found = options(**given)
    found.check()
    return found


def plain_parser(prog: str, usage: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser that knows ``--version`` and ``--help``, and raises UsageError where argparse would exit."""
    parser = _Parser(
        prog=prog,
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    return parser


def fill(parser: argparse.ArgumentParser, options: type[Options]) -> argparse.ArgumentParser:
    """The parser with the options of a dataclass; those of every command come last."""
    common = fields(Options)
    own = [each for each in fields(options) if each.name not in {known.name for known in common}]
    for each in (*own, *common):
        _add(parser, each)
    return parser


def _add(parser: argparse.ArgumentParser, each: Field[Any]) -> None:
    flags = each.metadata["flags"]
    settings = dict(each.metadata["settings"])
    complete = settings.pop("complete", None)
    # What was not typed is left out, so that a default stands in one place only, the dataclass.
    if flags:
        action = parser.add_argument(*flags, dest=each.name, default=argparse.SUPPRESS, **settings)
    else:
        action = parser.add_argument(each.name, nargs="*", **settings)
    if complete is not None:
        action.completer = complete  # type: ignore[attr-defined] # argcomplete's


def split_at_dashes(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before ``--`` and those after it, which are no options.

    By hand: argparse of Python 3.11 takes options after ``--`` too, where words and options are mixed.
    """
    cut = argv.index("--") if "--" in argv else len(argv)
    return list(argv[:cut]), list(argv[cut + 1 :])


def did_you_mean(word: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """``; did you mean …?`` where a known word is like this one, else nothing."""
    like = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {shown(like[0])}?" if like else ""


def check_words(argv: Iterable[str]) -> None:
    """Raises UsageError for a word that is no text, and so no name of anything."""
    for word in argv:
        if not is_text(word):
            raise UsageError(
                f"{word[:40]!a} is not valid text",
                reason_code="bad_text",
                next_action="pass it as UTF-8, without NUL",
            )


def _check_known(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> None:
    if not unknown:
        return
    name = unknown[0].partition("=")[0]
    like = did_you_mean(name, (flag for action in parser._actions for flag in action.option_strings))
    raise UsageError(
        f"there is no option {name!r}{like}" if name.startswith("-") else f"{name!r} is one word too many",
        reason_code="usage",
        next_action=f"{parser.prog} --help",
    )


def _words_field(options: type[Options]) -> Field[Any] | None:
    return next((each for each in fields(options) if not each.metadata["flags"]), None)


def _check_count(options: type[Options], prog: str, given: Sequence[str]) -> None:
    declared = _words_field(options)
    most = 0 if declared is None else declared.metadata["most"]
    if len(given) > most:
        takes = f"takes at most {most}" if most else "takes none"
        raise UsageError(
            f"{given[most]!r} is one word too many: {prog} {takes}",
            reason_code="usage",
            next_action=f"{prog} --help",
        )
