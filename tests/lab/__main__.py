# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.lab up|down|status``: the lab by hand, for trying things against it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from .binaries import CHECKOUT, BinaryMissingError
from .lab import Lab, LabError

__all__ = ["main"]

_DEFAULT_ROOT = CHECKOUT / ".lab"


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; returns the exit code (1: it failed, or no lab is up)."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except (LabError, BinaryMissingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _up(options: argparse.Namespace) -> int:
    lab = _running(options.root)
    if lab is None:
        Lab.discard(options.root)
        lab = Lab(root=options.root, slack=options.slack)
        lab.up(detached=True)
    elif options.slack and not lab.has_slack:
        raise LabError(
            f"the lab in {options.root} runs without Slack; end it first: python -m tests.lab down"
        )
    _show(lab, options.json)
    return 0


def _status(options: argparse.Namespace) -> int:
    lab = _running(options.root)
    if lab is not None:
        _show(lab, options.json)
        return 0
    print(
        json.dumps({"up": False})
        if options.json
        else f"no lab runs in {options.root}; start one: python -m tests.lab up"
    )
    return 1


def _down(options: argparse.Namespace) -> int:
    lab = _running(options.root)
    if lab is not None:
        lab.down()
    Lab.discard(options.root)
    print(json.dumps({"up": False}) if options.json else "the lab is down")
    return 0


def _running(root: Path) -> Lab | None:
    try:
        return Lab.attach(root)
    except LabError:
        return None


def _show(lab: Lab, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_description(lab), indent=2))
        return
    for vm in lab.vms.values():
        print(f"{vm.name:12} {vm.url:24} {'up  ' if vm.alive else 'DOWN'} {vm.home}")
    print(f"{'model':12} {lab.model.url}")
    print(f"{'inventory':12} {lab.inventory}")
    print(f"{'logs':12} {lab.root / 'logs'}")
    variables = {"DX_VM_ENDPOINTS": str(lab.endpoints), **(lab.slack.env if lab.has_slack else {})}
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def _description(lab: Lab) -> dict[str, Any]:
    return {
        "up": True,
        "root": str(lab.root),
        "model": lab.model.url,
        "endpoints": str(lab.endpoints),
        "inventory": str(lab.inventory),
        "slack": lab.slack.url if lab.has_slack else None,
        "env": lab.env,
        "vms": {
            vm.name: {"url": vm.url, "home": str(vm.home), "alive": vm.alive, "log": str(vm.log)}
            for vm in lab.vms.values()
        },
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start it in the background, and say where everything is"),
        ("down", "end it and remove all of it"),
        ("status", "say where everything is"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--json", action="store_true", help="one JSON document")
        command.add_argument("--root", type=Path, default=_DEFAULT_ROOT, help="default: %(default)s")
        if name == "up":
            command.add_argument("--slack", action="store_true", help="with a Slack workspace")
    return parser


_COMMANDS = {"up": _up, "down": _down, "status": _status}

if __name__ == "__main__":
    sys.exit(main())
