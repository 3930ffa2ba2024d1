# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs of servers."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

__all__ = ["check_url", "is_loopback"]


def check_url(url: str) -> str:
    """The URL without a trailing slash, if it can be a server's.

    Raises:
        ValueError: It can't. The text never repeats the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("is not an http(s) URL such as http://epyc6:4105")
    if parts.username is not None or parts.password is not None:
        raise ValueError("has credentials in it: leave them out and name a variable with password_env")
    if parts.query or parts.fragment or re.search(r"\s|[\x00-\x20\x7f]", url):
        raise ValueError("must be only scheme, host, port and path")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether the host of a URL is the machine itself, by name or address."""
    host = (urlsplit(url).hostname or "").casefold()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
