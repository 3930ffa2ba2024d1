# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets taken out of text, before it is stored or sent.

Two ways: what secrets look like, and the values that this process' own environment holds. It rather takes
too much than too little. It is linear in the length of the text, whatever stands in it: a pattern begins
only where a run of its characters begins, or where the last match ended.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

__all__ = ["MASK", "is_secret_name", "redact", "redact_all", "secrets_of"]

MASK = "[redacted]"
SHORTEST = 6
"""Of a value of the environment: what is shorter stands in too many other words."""

MAX_LINE = 4096

# What a token of a known kind begins with, and how long the rest is at least.
_TOKEN = re.compile(
    r"xox[a-z](?:\.xox[a-z])?-[\w-]{8}|xapp-[\w-]{8}|xwfp-[\w-]{8}"
    r"|gh[pousr]_\w{16}|github_pat_\w{16}"
    r"|gl(?:pat|rt|dt|ptt|soat|cbt|ft|imt|agent|oas)-[\w-]{10}"
    r"|(?<![A-Za-z0-9])sk-(?=[A-Za-z_-]{0,40}+\d)[\w-]{16}|sk-(?:ant|proj|svcacct|or)-[\w-]{8}"
    r"|A(?:KIA|SIA|IDA|ROA|GPA)[A-Z0-9]{16}|ABSK[A-Za-z0-9]{16}"
    r"|AIza[\w-]{30}|GOCSPX-[\w-]{16}"
    r"|[sr]k_(?:live|test)_\w{10}|whsec_\w{16}"
    r"|npm_\w{30}|pypi-[\w-]{30}|hf_\w{24}|gsk_\w{20}|r8_\w{30}"
    r"|do[opr]_v1_\w{20}|dp\.[a-z]{2,6}\.\w{20}|shp(?:at|ca|pa|ss)_\w{20}"
    r"|AGE-SECRET-KEY-1\w{10}|hv[sbr]\.\w{16}|tskey-[\w-]{10}|lin_api_\w{16}|dapi[0-9a-f]{32}"
)
_RUN = re.compile(r"[\w.\-]{12,}", re.ASCII)
_REST = re.compile(r"[\w\-]*", re.ASCII)
_JWT = re.compile(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{4,}+\.(?:[A-Za-z0-9_-]{4,}+)(?:\.[A-Za-z0-9_-]*+){0,3}"
    r"|(?<![A-Za-z0-9_-])(?:SG|ya29)\.[A-Za-z0-9_-]{16,}+(?:\.[A-Za-z0-9_-]*+)?"
)
_AWS_PAIR = re.compile(r"(A(?:KIA|SIA)[A-Z0-9]{16}[^A-Za-z0-9/+]{1,8}+)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])")
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_VAULT = re.compile(r"\$ANSIBLE_VAULT;[^\n\\]*+(?:(?:\n|\\n)[ \t]*+[0-9a-f]{2,}+)*+")
_URL_PASSWORD = re.compile(r"://([^\s/:@\"'<>]*+):([^\s/\"'<>]++)")
_URL_USER = re.compile(r"(://)[^\s/:@\"'<>]{20,}+@")
_WEBHOOK = re.compile(r"(hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/)[\w/-]++")
_SCHEME = re.compile(r"\b(bearer|basic|digest|token)([ \t]{1,8})([\w.~+/=:\-]{8,}+)", re.IGNORECASE)
_HEADER = re.compile(
    r"(authorization|cookie)"
    r"(\\?[\"']?[ \t]{0,8}[:=][ \t]{0,8}\\?[\"']?)([^\r\n\"'\\]++)",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?<![\w.\-])-{0,8}+([A-Za-z_][\w.\-]++)(\\{0,3}[\"']?[ \t]{0,8}(?:=>|:=|==?|:)[ \t]{0,8})", re.ASCII
)
_ITEM = re.compile(r"\[\\{0,3}[\"']([\w.\-]++)\\{0,3}[\"']\]([ \t]{0,8}=[ \t]{0,8})", re.ASCII)
_OPTION = re.compile(r"(?<![\w-])--?([A-Za-z][\w\-]++)([ \t]{1,8})(?=[^\s-])", re.ASCII)
_SAID = re.compile(
    r"\b(pass(?:word|phrase|wd|code)|secret|token|api[ -]?key|credentials?)\b"
    r"([ \t]{1,4}(?:is|was|are)[ \t]{0,4}[:=]?[ \t]{0,4})",
    re.IGNORECASE,
)
_USER_OPTION = re.compile(
    r"((?<![\w-])(?:-u|--user|--proxy-user)(?:[ \t]{1,8}|=)[\"']?[^\s:\"']*+:)([^\s\"']++)"
)
_PIECE = re.compile(r"\S++")
_STRINGS = {
    '"': re.compile(r"[^\"\\\n]*+(?:\\.[^\"\\\n]*+)*+"),
    "'": re.compile(r"[^'\\\n]*+(?:\\.[^'\\\n]*+)*+"),
}
_OPENING = re.compile(r"\\{0,3}[\"']")

_SECRET_NAME = re.compile(
    r"pass[_-]?(?:w|phrase|code)|pwd|secret|token|credential|authorization|cookie|bearer|jwt|webhook"
    r"|(?:^|[^a-z])(?:pw|pat|psk|sid|dsn|otp)(?:$|[^a-z])|[_.-]pass(?:$|[^a-z])|(?:^|[^a-z])auth(?!or)"
    r"|(?:api|access|private|signing|encryption|master|shared|service|deploy|account|session|hmac|license|ssh)"
    r"[_. -]?key"
)
_KEY_NAME = re.compile(r"[_.-]key$", re.IGNORECASE)
_HARMLESS = re.compile(
    r"(?:old)?pwd$|(?:primary|foreign|public|partition|sort|cache|row|dict|group|host)[_.-]?key$",
    re.IGNORECASE,
)
_NO_VALUE = re.compile(r"(?:true|false|none|null|yes|no|on|off)$", re.IGNORECASE)
_COUNT = re.compile(r"\d{1,9}(?:\.\d+)?[,;.)}\]]?$")


def redact(text: str, secrets: Iterable[str] | None = None) -> str:
    """The text with :data:`MASK` in the place of everything that looks like a secret, or is one.

    Args:
        text: Any text.
        secrets: Values to take out wherever they stand; default: those of this process' environment.
    """
    for secret in secrets_of(os.environ) if secrets is None else secrets:
        text = text.replace(secret, MASK)
    for taken_out in _STEPS_OF_A_WORD if _WORD.fullmatch(text) else _STEPS:
        text = taken_out(text)
    return text


def redact_all(value: Any, secrets: Iterable[str] | None = None) -> Any:
    """JSON-ready data with every string in it redacted, and whatever stands under a secret's name masked."""
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, Mapping):
        return {
            redact(str(key), secrets): MASK
            if isinstance(inner, str) and inner and is_secret_name(str(key))
            else redact_all(inner, secrets)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_all(inner, secrets) for inner in value]
    return value


@lru_cache(4096)
def is_secret_name(name: str) -> bool:
    """Whether what has this name is to be kept secret: ``GITHUB_TOKEN``, ``dbPassword``, ``api-key``."""
    if len(name) > 256:
        return True
    if _HARMLESS.match(name) or (_HARMLESS.search(name.casefold()[-24:]) and "key" in name.casefold()):
        return False
    return bool(_SECRET_NAME.search(name.casefold()) or _KEY_NAME.search(name))


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of an environment that are secrets by their variables' names, or passwords in URLs."""
    found: set[str] = set()
    for name, value in environ.items():
        if is_secret_name(name) and not name.endswith(("_ENV", "_FILE", "_PATH", "_SOCK", "_PID")):
            found.update((value, value.strip(), *(line.strip() for line in value.splitlines())))
        if "://" in value and (url := _URL_PASSWORD.search(value)) and "@" in url[2]:
            found.add(url[2].rpartition("@")[0])
    found |= {quote(secret, safe="") for secret in found}
    worth = (secret for secret in found if len(secret) >= SHORTEST and not _NO_VALUE.match(secret))
    return tuple(sorted(worth, key=len, reverse=True))


def _private_keys(text: str) -> str:
    parts: list[str] = []
    at = 0
    while begin := _KEY_BEGIN.search(text, at):
        end = _KEY_END.search(text, begin.end())
        parts += [text[at : begin.start()], MASK]
        if end is None:  # the rest of a key that was cut off
            return "".join(parts)
        at = end.end()
    return "".join((*parts, text[at:]))


def _url_password(found: re.Match[str]) -> str:
    password, sign, host = found[2].rpartition("@")
    return f"://{found[1]}:{MASK}@{host}" if sign and password else found[0]


def _scheme(found: re.Match[str]) -> str:
    value = found[3]
    word = value.rstrip(".:")
    is_word = word.isalpha() and (word.islower() or word.istitle())
    return found[0] if is_word else f"{found[1]}{found[2]}{MASK}"


def _token_runs(text: str) -> str:
    return _RUN.sub(_tokens_of_run, text)


def _tokens_of_run(run: re.Match[str]) -> str:
    """A run of the characters of tokens: from where one begins to its end."""
    text = run[0]
    parts: list[str] = []
    at = 0
    while found := _TOKEN.search(text, at):
        end = _REST.match(text, found.end())
        if end is None:
            raise AssertionError
        parts += [text[at : found.start()], MASK]
        at = end.end()
    return "".join((*parts, text[at:])) if parts else text


def _values_named_by(pattern: re.Pattern[str]) -> Callable[[str], str]:
    """Takes out the value after each match of a pattern whose first group is a secret's name."""

    def taken_out(text: str) -> str:
        parts: list[str] = []
        at = 0
        while span := _first_value(pattern, text, at):
            begin, end = span
            parts += [text[at:begin], MASK]
            at = end
        return "".join((*parts, text[at:])) if parts else text

    return taken_out


def _first_value(pattern: re.Pattern[str], text: str, at: int) -> tuple[int, int] | None:
    """Where the first value from here on stands that is to be taken out."""
    for found in pattern.finditer(text, at):
        if is_secret_name(found[1]):
            begin, end = _value(text, found.end())
            if begin == end or text.startswith(MASK, begin) or _tells_nothing(found[1], text[begin:end]):
                continue
            return begin, end
    return None


def _value(text: str, at: int) -> tuple[int, int]:
    """Where the value that begins here begins and ends, without its quotes."""
    opening = _OPENING.match(text, at)
    if opening is None:
        piece = _PIECE.match(text, at)
        return (at, piece.end()) if piece else (at, at)
    begin = opening.end()
    if len(opening[0]) > 1:  # quotes in a string: they end with the same number of backslashes
        line = text.find("\n", begin, begin + MAX_LINE)
        limit = line if line >= 0 else begin + MAX_LINE
        end = text.find(opening[0], begin, limit)
        return begin, end if end >= 0 else min(limit, len(text))
    string = _STRINGS[opening[0]].match(text, begin)
    if string is None:
        raise AssertionError
    end = string.end()
    after = text[end + 1 : end + 2]
    if after.isalnum() or after in ("\\", "'", '"'):  # a shell's word goes on: 'it'\\''s'
        rest = _PIECE.match(text, end)
        end = rest.end() if rest else end
    return begin, end


def _tells_nothing(name: str, value: str) -> bool:
    """``max_tokens=4096`` and ``password=none`` are no secrets, ``password=4096`` is one."""
    return bool(_NO_VALUE.match(value) or ("token" in name.casefold() and _COUNT.match(value)))


def _said_values(text: str) -> str:
    """``the password is hunter2``. Of a token, a plain word says what became of it: ``was revoked``."""
    parts: list[str] = []
    at = 0
    for found in _SAID.finditer(text):
        begin, end = _value(text, found.end())
        if found.start() < at or begin == end or text.startswith(MASK, begin):
            continue
        if not found[1].casefold().startswith("pass") and text[begin:end].rstrip(".,;:!").isalpha():
            continue
        parts += [text[at:begin], MASK]
        at = end
    return "".join((*parts, text[at:]))


# All other patterns need another character: names of things, of which a fact has many, are soon done.
_WORD = re.compile(r"[\w.@\-]*+", re.ASCII)
_STEPS_OF_A_WORD: tuple[Callable[[str], str], ...] = (
    lambda text: _JWT.sub(MASK, text),
    lambda text: _AWS_PAIR.sub(rf"\1{MASK}", text),
    _token_runs,
)

_STEPS: tuple[Callable[[str], str], ...] = (
    _private_keys,
    lambda text: _VAULT.sub(MASK, text),
    lambda text: _WEBHOOK.sub(rf"\1{MASK}", text),
    lambda text: _URL_PASSWORD.sub(_url_password, text),
    lambda text: _URL_USER.sub(rf"\1{MASK}@", text),
    lambda text: _HEADER.sub(rf"\1\2{MASK}", text),
    lambda text: _JWT.sub(MASK, text),
    lambda text: _AWS_PAIR.sub(rf"\1{MASK}", text),
    _token_runs,
    lambda text: _SCHEME.sub(_scheme, text),
    _values_named_by(_NAMED),
    _values_named_by(_ITEM),
    _values_named_by(_OPTION),
    _said_values,
    lambda text: _USER_OPTION.sub(lambda found: found[1] + MASK, text),
)
