# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever others answer for a server, drawn at random: the task runs at most once and nothing untrue is
concluded.

Ten thousand answers: DX_RANDOM_ANSWERS=10000 (the default is a tenth of that).
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass

import httpx
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from .fake_opencode import FakeOpenCode, Fault, answered_for
from .requests_of_a_dispatch import BEFORE_THE_TASK, READS_OF_A_DISPATCH, WRITES_OF_A_DISPATCH
from .virtual_time import run
from .working_opencode import WorkingOpenCode, check_dispatch, dispatch


@dataclass(frozen=True)
class Drawn:
    """One answer of somebody else."""

    status: int
    body: bytes
    content_type: str
    when: str
    delay_s: float

    @property
    def fault(self) -> Fault:
        return answered_for(self.status, self.body, self.content_type, self.when, self.delay_s)


NEARLY = [
    b"",
    b"<!doctype html><title>Bad Gateway</title>",
    b"null",
    b"true1",
    b'"ok"',
    b"{",
    b'{"status": "ok"}',
    b'{"message": "Not Found"}',
    b'{"name": "NotFoundError"}',
    b'{"name": "NotFoundError", "data": "Session not found"}',
    b'{"name": "not found", "data": {"message": "Session not found"}}',
    b'{"data": {"message": "Session not found: ses_1"}}',
    b'{"_tag": 404}',
    b'{"error": {"name": "NotFoundError"}}',
    b'{"data": {"id": "ses_other", "location": {"directory": "/srv"}}}',
]
answers = st.builds(
    Drawn,
    status=st.sampled_from([200, 201, 202, 206, 301, 302, 307, 400, 401, 402, 403, 404, 405, 407, 408, 409])
    | st.sampled_from([410, 413, 414, 421, 425, 429, 431, 451, 500, 501, 502, 503, 504, 511, 520, 524, 599]),
    body=st.sampled_from(NEARLY) | st.binary(max_size=40),
    content_type=st.sampled_from(["application/json", "text/html", "text/plain", "application/problem+json"]),
    when=st.sampled_from(["instead", "after", "before"]),
    delay_s=st.sampled_from([0.01, 0.5, 2.0, 10.0, 60.0]),
)
WANTED = int(os.environ.get("DX_RANDOM_ANSWERS", "1000"))
SEED = int(os.environ.get("DX_RANDOM_SEED", secrets.randbelow(2**32)))
PER_RUN = 10
GIVEN_PER_RUN = 4  # at least, on average: a dispatch that is refused asks for no more
FOR_THE_TASK = [
    *WRITES_OF_A_DISPATCH.values(),
    *(("GET", path) for name, (path, _) in READS_OF_A_DISPATCH.items() if name not in BEFORE_THE_TASK),
]
FIRST = [("GET", READS_OF_A_DISPATCH[name][0]) for name in BEFORE_THE_TASK]
# What spoils a look ends the dispatch there: the later requests are worth more answers.
requests = st.sampled_from([*FOR_THE_TASK * 8, *FIRST])
spoilt_requests = st.tuples(requests, answers, st.integers(0, 3), st.integers(1, 6))


def test_answers_drawn_at_random() -> None:
    """Each spoils some requests after letting some pass. A seed draws the same ones again."""
    print(f"again: DX_RANDOM_SEED={SEED} DX_RANDOM_ANSWERS={WANTED}")
    given_answers = 0

    def counted(fault: Fault) -> Fault:
        def count(server: FakeOpenCode, request: httpx.Request) -> httpx.Response:
            nonlocal given_answers
            given_answers += 1
            return fault(server, request)

        return count

    @seed(SEED)
    @settings(
        max_examples=-(-WANTED // GIVEN_PER_RUN),
        deadline=None,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(spoilt_requests, min_size=PER_RUN, max_size=PER_RUN))
    def spoil(drawn: list[tuple[tuple[str, str], Drawn, int, int]]) -> None:
        async def spoiled_dispatch() -> None:
            fake = WorkingOpenCode()
            for (method, path), each, after, times in drawn:
                fake.add(method, path, counted(each.fault), times=times, after=after)
            seen = await dispatch(fake)
            note(f"{seen.outcome.reason_code}, the bead {seen.bead}")
            await check_dispatch(fake, seen)

        run(spoiled_dispatch())

    spoil()
    print(given_answers)
    assert given_answers >= WANTED
