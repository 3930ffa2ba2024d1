# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was recorded is there, for whoever looks, after whatever happened to who recorded it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store import database
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.lease import Lease
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox, outbox_path
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.records import Counts, DeliveryState
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import AuditError

from tests.unit.forking import fork
from tests.unit.plugin_utils.audit.holding import BLOCKED_S, holding, longest_stop

NOBODY = 65534


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "state" / "dx-fleet" / "outbox.db")


def event(number: int = 0, dispatch: str = "d1") -> AuditEvent:
    return kinds.retrying(Subject(dispatch, vm="epyc6"), "429", number)


def in_child(work: Callable[[], None], *, uid: int | None = None) -> int:
    """What a forked process that does this ends with."""
    pid = fork()
    if pid == 0:
        code = 1
        try:
            if uid is not None:
                os.setuid(uid)
            work()
            code = 0
        except AuditError as error:
            os.write(2, error.reason_code.encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def refused(work: Callable[[], object]) -> AuditError:
    with pytest.raises(AuditError) as caught:
        work()
    assert caught.value.next_action
    return caught.value


def test_what_is_appended_is_read_back_in_order(outbox: Outbox) -> None:
    events = [event(number) for number in range(5)]
    assert all(outbox.append(one, "C1") for one in events)
    assert [record.event.as_dict() for record in outbox.ledger.thread_records("d1")] == [
        one.as_dict() for one in events
    ]
    assert outbox.counts() == Counts(0, 5, 0)


def test_the_trail_of_a_bead_has_its_dispatches_and_no_others(outbox: Outbox) -> None:
    for dispatch in ("bd-1@1", "bd-1@2", "bd-10@1", "bd-1.2@1", "BD-1@1", "bd-1"):
        outbox.append(event(dispatch=dispatch), "C1")
    told = [record.event.subject.dispatch for record in outbox.trail("bd-1")]
    assert told == ["bd-1@1", "bd-1@2", "bd-1"]
    assert outbox.trail("bd-%") == outbox.trail("") == []


def test_the_trail_of_an_id_that_a_group_of_vms_was_given_has_those_of_each(outbox: Outbox) -> None:
    for dispatch in ("d1.epyc6", "d1.macmini", "d1", "d2.epyc6"):
        outbox.append(event(dispatch=dispatch), "C1")
    told = [record.event.subject.dispatch for record in outbox.trail("d1")]
    assert told == ["d1.epyc6", "d1"]
    assert [record.event.subject.dispatch for record in outbox.drop("d1")] == told


def test_the_same_fact_is_kept_once(outbox: Outbox) -> None:
    assert outbox.append(event(), "C1") is True
    assert outbox.append(event(), "C1") is False
    assert len(outbox.trail()) == 1


def test_it_is_for_this_user_alone(outbox: Outbox) -> None:
    outbox.append(event(), "C1")
    for path in (outbox.path.parent, *outbox.path.parent.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_what_others_may_read_is_closed_to_them(outbox: Outbox) -> None:
    outbox.path.parent.mkdir(parents=True, mode=0o755)
    outbox.path.touch(0o644)
    outbox.append(event(), "C1")
    assert stat.S_IMODE(outbox.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(outbox.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"XDG_STATE_HOME": "/s"}, "/s/dx-fleet/outbox.db"),
        ({"HOME": "/h"}, "/h/.local/state/dx-fleet/outbox.db"),
        ({"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/dx-fleet/outbox.db"),
        ({"HOME": "/h", "XDG_STATE_HOME": ""}, "/h/.local/state/dx-fleet/outbox.db"),
    ],
)
def test_where_it_is(environ: dict[str, str], path: str) -> None:
    assert outbox_path(environ) == Path(path)


# --- processes, threads, forks ---


def test_a_process_that_is_killed_loses_nothing_that_it_recorded(outbox: Outbox) -> None:
    def record_and_die() -> None:
        for number in range(20):
            outbox.append(event(number), "C1")
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(record_and_die) == -signal.SIGKILL
    assert len(outbox.trail()) == 20


def test_forked_workers_record_beside_their_parent(outbox: Outbox) -> None:
    outbox.append(event(0, "parent"), "C1")  # with a connection that the children must not use
    for child in range(8):
        assert in_child(lambda child=child: outbox.append(event(child, "child"), "C1") and None) == 0  # type: ignore[misc]
        outbox.append(event(child + 1, "parent"), "C1")
    assert (len(outbox.ledger.thread_records("parent")), len(outbox.ledger.thread_records("child"))) == (9, 8)


def test_many_processes_record_at_once(outbox: Outbox) -> None:
    pids = []
    for child in range(12):
        pid = fork()
        if pid == 0:
            code = 1
            try:
                for number in range(20):
                    assert outbox.append(event(number, f"d{child}"), "C1")
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 12
    assert outbox.counts() == Counts(0, 240, 0)


def test_a_child_does_not_use_its_parents_connection(outbox: Outbox) -> None:
    outbox.append(event(), "C1")
    own = outbox.database._open()
    assert in_child(lambda: os._exit(int(outbox.database._open() is own))) == 0
    assert outbox.database._open() is own


def test_a_child_does_not_close_its_parents_connection(outbox: Outbox) -> None:
    outbox.append(event(), "C1")
    opened = outbox.database._open()

    def collect() -> None:
        outbox.database.__del__()
        os._exit(int(database._abandoned[-1:] != [opened]))

    assert in_child(collect) == 0


def test_a_lease_has_one_holder(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    first, second = Lease(outbox), Lease(outbox)
    assert first.take()
    assert first.take()
    assert not second.take()
    second.give_back()
    assert in_child(lambda: None if not Lease(outbox).take() else os._exit(3)) == 0
    first.give_back()
    assert second.take()
    second.give_back()
    assert in_child(lambda: None if Lease(outbox).take() else os._exit(3)) == 0


def test_a_lease_is_handed_over_without_a_moment_in_between(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    lease = Lease(outbox)
    assert lease.take()
    assert lease.fd is not None
    program = subprocess.Popen(["sleep", "60"], pass_fds=(lease.fd,))
    lease.give_back()
    assert not Lease(outbox).take()
    program.kill()
    program.wait()
    assert Lease(outbox).take()


def test_a_program_that_the_holder_starts_does_not_keep_its_lease(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    lease = Lease(outbox)
    assert lease.take()
    program = subprocess.Popen(["sleep", "60"])
    lease.give_back()
    assert Lease(outbox).take()
    program.kill()
    program.wait()


# --- while another process holds it ---


def test_recording_does_not_stop_the_loop_while_another_process_holds_the_outbox(outbox: Outbox) -> None:
    outbox.append(event(), "C1")

    async def record() -> float:
        stop = asyncio.create_task(longest_stop(1.0))
        for number in range(1, 20):
            outbox.append(event(number), "C1")
            await asyncio.sleep(0)
        return await stop

    with holding(outbox) as release:
        assert asyncio.run(record()) < BLOCKED_S
        assert outbox.counts() == Counts(0, 20, 0)  # 19 of them beside it
        assert len(outbox.trail()) == 1
        release()
    assert [record.event.fields["attempt"] for record in outbox.trail()] == list(range(20))


def test_what_waits_beside_it_comes_before_what_is_recorded_next_by_anybody(outbox: Outbox) -> None:
    outbox.append(event(0), "C1")
    with holding(outbox):
        outbox.append(event(1), "C1")
        outbox.append(event(2), "C2")
    assert in_child(lambda: Outbox(outbox.path).append(event(3), "C1") and None) == 0
    assert [record.event.fields["attempt"] for record in outbox.trail()] == [0, 1, 2, 3]
    assert list(outbox.path.with_name("incoming").iterdir()) == []


def test_what_waits_beside_it_survives_its_recorder_and_is_taken_in_once(outbox: Outbox) -> None:
    outbox.append(event(0), "C1")

    def record_and_die() -> None:
        outbox.append(event(1), "C1")
        os.kill(os.getpid(), signal.SIGKILL)

    with holding(outbox):
        assert in_child(record_and_die) == -signal.SIGKILL
    (file,) = outbox.path.with_name("incoming").iterdir()
    copy = file.read_bytes()
    assert outbox.counts() == Counts(0, 2, 0)
    file.write_bytes(copy)  # as where a process dies between taking it in and removing it
    assert outbox.counts() == Counts(0, 2, 0)
    assert len(outbox.trail()) == 2


def test_a_file_that_is_no_event_holds_nothing_up(outbox: Outbox) -> None:
    outbox.append(event(0), "C1")
    with holding(outbox):
        outbox.append(event(1), "C1")
    (outbox.path.with_name("incoming") / "0.json").write_text("{")
    assert outbox.counts() == Counts(0, 2, 0)


# --- what can be wrong with the file ---


def test_a_file_that_is_no_outbox_is_said_to_be_one(outbox: Outbox) -> None:
    outbox.path.parent.mkdir(parents=True)
    outbox.path.write_bytes(b"hello " * 1000)
    error = refused(lambda: outbox.append(event(), "C1"))
    assert error.reason_code == "outbox_corrupt"
    assert str(outbox.path) in error.message
    outbox.path.unlink()
    assert outbox.append(event(), "C1")


def test_a_broken_page_is_said_to_be_one(outbox: Outbox) -> None:
    for number in range(200):
        outbox.append(event(number), "C1")
    outbox.close()
    data = bytearray(outbox.path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    outbox.path.write_bytes(data)
    assert refused(lambda: outbox.append(event(), "C1")).reason_code == "outbox_corrupt"


def test_a_directory_in_its_place_is_said(outbox: Outbox) -> None:
    outbox.path.mkdir(parents=True)
    assert refused(lambda: outbox.append(event(), "C1")).reason_code == "outbox_unusable"


def test_a_file_in_the_place_of_its_directory_is_said(outbox: Outbox) -> None:
    outbox.path.parent.parent.mkdir(parents=True)
    outbox.path.parent.touch()
    assert refused(lambda: outbox.append(event(), "C1")).reason_code == "outbox_unusable"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_is_another_users_is_not_touched(outbox: Outbox, capfd: pytest.CaptureFixture[str]) -> None:
    outbox.append(event(), "C1")
    for parent in list(outbox.path.parents)[1:4]:
        parent.chmod(0o755)
    assert in_child(lambda: outbox.append(event(1), "C1") and None, uid=NOBODY) == 1
    assert "outbox_read_only" in capfd.readouterr().err


def test_a_file_that_can_only_be_read_is_said(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox.append(event(), "C1")
    outbox.close()
    real = sqlite3.connect
    monkeypatch.setattr(
        database.sqlite3,
        "connect",
        lambda path, **options: real(f"file:{path}?mode=ro", uri=True, **options),
    )
    assert refused(lambda: outbox.append(event(1), "C1")).reason_code == "outbox_read_only"
    assert len(outbox.trail()) == 1


def test_a_full_disk_is_said_and_nothing_is_lost(outbox: Outbox) -> None:
    outbox.append(event(), "C1")
    connection = outbox.database._open()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    error = refused(lambda: [outbox.append(event(number), "C1") for number in range(1, 500)])
    assert error.reason_code == "outbox_disk_full"
    kept = len(outbox.trail())
    assert outbox.append(event(kept), "C1")  # after the error, with a connection that has no such limit


def test_a_writer_that_never_ends_is_not_waited_for_long(outbox: Outbox) -> None:
    outbox.append(event(), "C1")
    with holding(outbox):
        error = refused(lambda: outbox.database.write(lambda _: None, patience_s=0.05))
        assert error.reason_code == "outbox_busy"
        assert len(outbox.trail()) == 1  # who only reads need not wait


def test_an_outbox_of_a_later_version_is_left_alone(outbox: Outbox) -> None:
    outbox.append(event(), "C1")
    outbox.database.write(lambda connection: connection.execute("PRAGMA user_version = 99"))
    assert refused(lambda: Outbox(outbox.path).append(event(1), "C1")).reason_code == "outbox_newer"


# --- what will never be delivered ---


def held(outbox: Outbox) -> None:
    """Records for a channel that works, for one that does not, and of another dispatch there."""
    outbox.append(event(0, "d1"), "C1")
    outbox.append(event(1, "d1"), "wrong")
    outbox.append(event(2, "bd-1@1"), "wrong")
    asyncio.run(outbox.ledger.keep_channel("wrong", trouble="channel_not_found"))


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        (None, [1, 2]),
        ("wrong", [1, 2]),
        ("C1", [0]),
        ("d1", [0, 1]),
        ("bd-1@1", [2]),
        ("bd-1", [2]),
        ("bd", []),
        ("%", []),
    ],
)
def test_what_will_never_be_delivered_can_be_dropped(
    outbox: Outbox, name: str | None, dropped: list[int]
) -> None:
    held(outbox)
    assert [record.event.fields["attempt"] for record in outbox.drop(name)] == dropped
    left = {0, 1, 2} - set(dropped)
    assert {record.event.fields["attempt"] for record in outbox.trail()} == left


def test_what_is_delivered_is_not_dropped(outbox: Outbox) -> None:
    outbox.append(event(0), "C1")
    asyncio.run(outbox.ledger.mark(outbox.undelivered(), DeliveryState.DELIVERED, ts="1.2"))
    assert outbox.drop("C1") == []
    assert outbox.counts() == Counts(1, 0, 0)


def test_what_is_dropped_leaves_no_head_to_be_shown(outbox: Outbox) -> None:
    held(outbox)
    outbox.drop("wrong")
    assert [channel.name for channel in outbox.ledger.channels()] == ["C1"]


def test_a_person_is_warned_of_a_channel_once_till_it_works_again(outbox: Outbox) -> None:
    held(outbox)
    assert [outbox.warn_once("wrong", "channel_not_found") for _ in range(3)] == [True, False, False]
    assert outbox.warn_once("wrong", "is_archived") is True
    asyncio.run(outbox.ledger.keep_channel("wrong", trouble=None, warned=None))
    assert outbox.warn_once("wrong", "is_archived") is True


# --- its bound ---


def test_what_is_delivered_makes_room_oldest_first(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=400_000)
    for number in range(1500):
        outbox.append(event(number), "C1")
        if number % 100 == 99:
            asyncio.run(outbox.ledger.mark(outbox.undelivered(), DeliveryState.DELIVERED, ts="1.2"))
    trail = outbox.trail()
    assert trail[-1].event.occurrence == "1499"
    assert 0 < len(trail) < 1400
    assert [record.seq for record in trail] == sorted(record.seq for record in trail)


def test_what_is_not_delivered_is_never_dropped(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=200_000)
    error = refused(lambda: [outbox.append(event(number), "C1") for number in range(5000)])
    assert error.reason_code == "outbox_full"
    assert "dx-fleet audit flush" in (error.next_action or "")
    assert outbox.counts().pending == len(outbox.undelivered(10_000)) > 100


OLD = """
CREATE TABLE record (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, family TEXT NOT NULL,
    dispatch TEXT NOT NULL, channel TEXT NOT NULL, event TEXT NOT NULL, progress TEXT NOT NULL DEFAULT 'pending',
    plainness INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, trouble TEXT, ts TEXT);
CREATE INDEX record_family ON record (family, seq);
CREATE INDEX record_open ON record (channel, family, seq) WHERE progress <> 'delivered';
CREATE TABLE thread (family TEXT NOT NULL, channel TEXT NOT NULL, channel_id TEXT, ts TEXT,
    posting INTEGER NOT NULL DEFAULT 0, plainness INTEGER NOT NULL DEFAULT 0, headline TEXT, shown TEXT,
    stale INTEGER NOT NULL DEFAULT 0, born_at REAL, posted_at REAL, updated_at REAL, PRIMARY KEY (family, channel))
    WITHOUT ROWID;
CREATE TABLE channel (name TEXT PRIMARY KEY, next_post_at REAL NOT NULL DEFAULT 0,
    quiet_until REAL NOT NULL DEFAULT 0, trouble TEXT) WITHOUT ROWID;
"""


def test_an_outbox_of_the_first_version_is_carried_over(outbox: Outbox) -> None:
    outbox.path.parent.mkdir(parents=True)
    with sqlite3.connect(outbox.path) as old:
        old.executescript(OLD + "PRAGMA user_version = 1;")
        data = json.dumps(event().as_dict())
        old.execute(
            "INSERT INTO record (id, family, dispatch, channel, event) VALUES (?, 'd1', 'd1', 'C1', ?)",
            (event().id, data),
        )
    assert outbox.append(event(1), "C1")
    assert [record.event.occurrence for record in outbox.ledger.thread_records("d1")] == ["0", "1"]
    assert outbox.counts() == Counts(0, 2, 0)
