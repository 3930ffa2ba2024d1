# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet test as JSON, for programs, and the files that are written of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .junit import junit_of
from .matrix import Matrix
from .page import page_of
from .results import FleetTest, VMTest

__all__ = ["document_of", "write_files"]

NAMES = {"junit": "junit.xml", "json": "result.json", "html": "report.html"}


def document_of(test: FleetTest, matrix: Matrix) -> dict[str, Any]:
    """JSON-ready form; what is unknown is None, never missing."""
    return {
        "repo": test.repo,
        "ref": test.ref,
        "commit": test.commit,
        "command": test.command,
        "state": test.state.value,
        "started_at": test.started_at,
        "duration_s": round(test.seconds, 3),
        "vms": [_vm(vm) for vm in test.vms],
        "suites": [
            {
                "suite": suite,
                "vms": {
                    vm: {seen.value: count for seen, count in cells[vm].counts.items()}
                    if vm in cells
                    else None
                    for vm in matrix.vms
                },
            }
            for suite, cells in matrix.cells.items()
        ],
        "differences": [
            {"id": each.id, "vms": {vm: seen.value for vm, seen in each.vms.items()}}
            for each in matrix.differences
        ],
        "flaky": [asdict(each) for each in matrix.flaky],
        "failing": [asdict(each) for each in matrix.failing],
    }


def _vm(vm: VMTest) -> dict[str, Any]:
    return {
        "vm": vm.vm,
        "state": vm.state.value,
        "commit": vm.commit,
        "trouble": None if vm.trouble is None else asdict(vm.trouble),
        "runs": [
            {
                "run": run.number,
                "state": run.state.value,
                "reason_code": run.reason_code,
                "message": run.message,
                "duration_s": run.seconds,
                "counts": None if run.counts is None else asdict(run.counts),
            }
            for run in vm.runs
        ],
    }


def write_files(test: FleetTest, matrix: Matrix, folder: Path) -> Mapping[str, str]:
    """Write JUnit XML, JSON and the page; returns their paths by kind.

    Raises:
        OSError: They can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: str(folder.absolute() / name) for kind, name in NAMES.items()}
    data = json.dumps({**document_of(test, matrix), "files": paths}, indent=2)
    content = {
        "junit": junit_of(test),
        "json": data.encode(),
        "html": page_of(test, matrix).encode("utf-8", "replace"),
    }
    for kind, path in paths.items():
        Path(path).write_bytes(content[kind])
    return paths
