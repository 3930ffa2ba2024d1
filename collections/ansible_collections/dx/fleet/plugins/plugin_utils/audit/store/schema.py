# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of the outbox, and the way from each older version to the next."""

from __future__ import annotations

__all__ = ["MIGRATIONS", "SCHEMA", "VERSION"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    thread_key TEXT NOT NULL,
    dispatch TEXT NOT NULL,
    channel TEXT NOT NULL,
    event TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    fallback_level INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    trouble TEXT,
    ts TEXT
);
CREATE INDEX IF NOT EXISTS record_thread ON record (thread_key, seq);
CREATE INDEX IF NOT EXISTS record_dispatch ON record (dispatch, seq);
CREATE INDEX IF NOT EXISTS record_open ON record (channel, thread_key, seq) WHERE state <> 'delivered';
CREATE TABLE IF NOT EXISTS thread (
    thread_key TEXT NOT NULL,
    channel TEXT NOT NULL,
    channel_id TEXT,
    ts TEXT,
    posting INTEGER NOT NULL DEFAULT 0,
    fallback_level INTEGER NOT NULL DEFAULT 0,
    headline TEXT,
    shown TEXT,
    stale INTEGER NOT NULL DEFAULT 0,
    born_at REAL,
    posted_at REAL,
    updated_at REAL,
    PRIMARY KEY (thread_key, channel)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS step (
    thread_key TEXT NOT NULL,
    channel TEXT NOT NULL,
    vm TEXT NOT NULL,
    words TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (thread_key, channel, vm)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS thread_stale ON thread (channel) WHERE stale;
CREATE TABLE IF NOT EXISTS channel (
    name TEXT PRIMARY KEY,
    next_post_at REAL NOT NULL DEFAULT 0,
    quiet_until REAL NOT NULL DEFAULT 0,
    trouble TEXT,
    unanswered_since REAL,
    warned TEXT
) WITHOUT ROWID;
"""
VERSION = 4
MIGRATIONS = {
    1: """
    ALTER TABLE record RENAME COLUMN family TO thread_key;
    ALTER TABLE record RENAME COLUMN progress TO state;
    ALTER TABLE record RENAME COLUMN plainness TO fallback_level;
    ALTER TABLE thread RENAME COLUMN family TO thread_key;
    ALTER TABLE thread RENAME COLUMN plainness TO fallback_level;
    DROP INDEX record_family;
    """,
    2: "ALTER TABLE channel ADD COLUMN unanswered_since REAL;",
    3: "ALTER TABLE channel ADD COLUMN warned TEXT;",
}
"""From a version to the one that follows it."""
