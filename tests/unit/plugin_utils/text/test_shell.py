# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that a person copies does what was meant."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.text.shell import command_line

WORDS = [
    "plain",
    "",
    "two words",
    'it\'s "quoted" `as` $(this) \\ !',
    "one\ntwo\r\n\tthree\n",
    "'\n'",
    "\\n\n\\",
    "Grüße 👩‍💻 e\u0301 a\u2028b\u0085c\u202ed",
    "\x1b[31m\x07\x7f1",
    "-dash",
    "~/home *",
]


@pytest.mark.parametrize("word", WORDS)
def test_a_shell_reads_back_the_same_words_from_one_line(word: str) -> None:
    line = command_line(["dx-dispatch", word, "end"])
    assert line.isprintable()
    shown = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    assert shown.stdout.decode().split("\0")[:-1] == ["dx-dispatch", word, "end"]


def test_what_needs_no_quotes_has_none() -> None:
    assert command_line(["dx-dispatch", "epyc6", "--id", "abc"]) == "dx-dispatch epyc6 --id abc"
