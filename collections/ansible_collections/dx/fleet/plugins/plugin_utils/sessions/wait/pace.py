# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a wait looks, and for how long it has patience. Measured with OpenCode 1.18."""

from __future__ import annotations

LOOK_EVERY_S = 1.5  # a pending question is found within 2 s even if its event was lost
LOOKS_PER_SECOND = 4  # and the rate stays bounded over many directories
LOOKS_AT_ONCE = 4  # directories: one thread of the server answers all
AGAIN_S = 0.5
SOON_S = 0.05  # a server may say that a session is idle a moment before it answers so, or stores its end
DEAF_LOOK_EVERY_S = 0.1  # for each directory, while no event can be relied on
DEAF_S = 1.5  # a loaded server says "connected" up to 0.2 s before it passes on any event
COUNT_EVERY_S = 10.0
COUNTS_PER_SECOND = 1
STREAM_SILENCE_S = 25.0  # the server sends a heartbeat every 10 s
RECONNECT_S = 0.1
RECONNECT_MOST_S = 2.0
SETTLE_S = 2.0
START_S = 15.0
ABORT_S = 10.0
HEALTH_S = 5.0
