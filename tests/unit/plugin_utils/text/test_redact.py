# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is left in a text, and nothing else is taken out of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.text.redact import (
    MASK,
    is_secret_name,
    redact,
    redact_all,
    secrets_of,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugin_utils.audit.secrets_corpus import LEAKS, PLAIN

SURROUNDINGS = ["{}", "see {} there", '{{"log": "{}"}}', "({})", "x={}", "a\n{}\nb", "{0} {0}", "é{}é"]

HOSTILE = [
    "secret",
    "password=",
    'password="',
    "password='\\",
    "eyJ",
    "eyJaaaaaa.",
    "sk-",
    "sk-a",
    "xoxb-",
    "ghp_",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ",
    "://",
    "://a:",
    "://a:b@",
    "bearer ",
    "bearer",
    "authorization",
    "x-a-",
    "a=",
    "_key",
    "--token ",
    "-u a:",
    "$ANSIBLE_VAULT;\n",
    "$ANSIBLE_VAULT;1\n ab\n",
    "AKIA",
    "the token is ",
    '\\"password\\": \\"',
    "a" * 50 + ".",
    " ",
    "\n",
    "-",
    "password \t",
]


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize(("text", "secret"), LEAKS, ids=[str(number) for number in range(len(LEAKS))])
def test_a_secret_of_a_usual_kind_is_taken_out(text: str, secret: str, around: str) -> None:
    told = redact(around.format(text), ())
    assert secret not in told
    assert MASK in told


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text, ()) == text


def test_the_text_around_a_secret_stays() -> None:
    assert redact("curl -u joe:hunter22 https://x.example", ()) == f"curl -u joe:{MASK} https://x.example"
    assert redact('{"password": "a b", "user": "joe"}', ()) == f'{{"password": "{MASK}", "user": "joe"}}'
    assert redact("postgres://app:hunter22@db/x", ()) == f"postgres://app:{MASK}@db/x"


@given(
    st.text(max_size=60),
    st.sampled_from(LEAKS),
    st.sampled_from(["\n", " ", "\t", '"', "'", "(", ","]),
    st.text(max_size=60),
)
def test_a_secret_is_taken_out_of_any_text(before: str, leak: tuple[str, str], gap: str, after: str) -> None:
    text, secret = leak
    if before.count('"') or before.count("'") or "\\" in before:
        before = ""
    assert secret not in redact(f"{before}{gap}{text}\n{after.replace(secret, '')}", ())


@given(st.text(max_size=300))
def test_what_was_redacted_is_not_redacted_again(text: str) -> None:
    once = redact(text, ())
    assert redact(once, ()) == once


@given(
    st.lists(
        st.sampled_from(
            [*(secret for _, secret in LEAKS), "xoxb-", "ghp_", "sk-", "-", ".", "@", "_", "eyJ", "AKIA", "x"]
        ),
        max_size=6,
    )
)
def test_a_word_loses_what_it_would_lose_among_others(parts: list[str]) -> None:
    word = "".join(parts)
    assert redact(word, ()) == redact(f"{word}\u00b7", ()).removesuffix("\u00b7")


def test_values_of_the_environment_are_taken_out_wherever_they_stand() -> None:
    environ = {
        "EPYC6_OPENCODE_PASSWORD": "correct horse/battery",
        "SLACK_BOT_TOKEN": "not-a-usual-form",
        "DATABASE_URL": "postgres://app:staple99@db/x",
        "HOME": "/root/home",
        "PWD": "/srv/affordabot",
        "SSH_AUTH_SOCK": "/tmp/agent.sock",
        "API_TOKEN": "abc",
        "MULTI_SECRET": "first line\nsecond line",
    }
    secrets = secrets_of(environ)
    told = redact(
        "a correct horse/battery b correct%20horse%2Fbattery c not-a-usual-form d staple99"
        " /root/home /srv/affordabot /tmp/agent.sock abc second line",
        secrets,
    )
    assert told == (
        f"a {MASK} b {MASK} c {MASK} d {MASK} /root/home /srv/affordabot /tmp/agent.sock abc {MASK}"
    )


def test_of_two_values_the_longer_one_is_taken_out_first() -> None:
    secrets = secrets_of({"A_TOKEN": "abcdef", "B_TOKEN": "abcdefghi"})
    assert redact("abcdefghi", secrets) == MASK


@pytest.mark.parametrize(
    "name", ["GITHUB_TOKEN", "dbPassword", "api-key", "client_secret", "AWS_SECRET_ACCESS_KEY", "x" * 300]
)
def test_a_secrets_name(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["author", "PWD", "OLDPWD", "primary_key", "public_key", "path", "keys"])
def test_a_name_that_is_no_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_data_is_redacted_to_its_last_string() -> None:
    data = {"a": ["password=hunter22", {"token": "x", "n": 1, "PASSWORD=hunter22": None}], "ok": True}
    told = redact_all(data, ())
    assert told["a"][0] == f"password={MASK}"
    assert told["a"][1]["token"] == MASK
    assert "hunter22" not in str(told)
    assert (told["ok"], told["a"][1]["n"]) == (True, 1)


def test_hostile_text_takes_linear_time() -> None:
    """A quarter of a megabyte each takes some 0.1 s; a quadratic pattern would take many minutes for one of them."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (40, 40))\n"
        "from ansible_collections.dx.fleet.plugins.plugin_utils.text.redact import redact\n"
        f"for piece in {HOSTILE!r}:\n"
        "    redact(piece * (250_000 // len(piece)), ())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=300, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.returncode == 0, done.stderr[-500:]
