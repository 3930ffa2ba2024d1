# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases of a parametrised test, run a few at a time, ahead of the tests that look at them.

A dispatch is mostly waiting, now for Ansible, now for the server.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import pytest

__all__ = ["Ahead", "ahead", "chosen"]

AT_A_TIME = 2

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Ahead(Generic[K, V]):
    """What came of each case; one that raised raises again where it is looked at."""

    def __init__(self, run: Callable[[K], V], cases: Iterable[K], pool: ThreadPoolExecutor) -> None:
        self._futures = {case: pool.submit(run, case) for case in cases}

    def __getitem__(self, case: K) -> V:
        return self._futures[case].result()


@contextmanager
def ahead(run: Callable[[K], V], cases: Iterable[K]) -> Iterator[Ahead[K, V]]:
    """Begin to run the cases in their order; the rest is dropped at the end."""
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        yield Ahead(run, cases, pool)
    finally:
        pool.shutdown(cancel_futures=True)


def chosen(request: pytest.FixtureRequest, parameter: str) -> list[Any]:
    """The values of a parameter in the tests of the fixture's module that were chosen to be run."""
    parameters = [
        item.callspec.params
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and hasattr(item, "callspec")
    ]
    return list(dict.fromkeys(found[parameter] for found in parameters if parameter in found))
