# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a repo may be on a VM. Only what the file names is taken on its word; all else has to be unique."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..domain.errors import PreflightError
from ..domain.outcome import State
from ..domain.request import Request, Resolution
from ..opencode.client import OpenCode

__all__ = ["clone_of", "directories_of", "directory_of"]


async def directories_of(server: OpenCode, request: Request) -> list[str]:
    """The directories that a request may mean, each confirmed by the server, at least one.

    Two names of one directory (a symbolic link) count once. More than one: only a person can tell which.

    Raises:
        PreflightError: ``repo_not_found``.
        OpenCodeError: The server can't be asked.
    """
    tried = await _candidates(server, request)
    found = [directory for directory in tried if await server.directory_exists(directory)]
    if not found:
        what = f"directory {request.directory!r}" if request.directory else f"repo {request.repo!r}"
        raise PreflightError(
            f"{request.vm} has no {what}; tried {', '.join(tried)}",
            reason_code="repo_not_found",
            next_action=f"clone it to {tried[-1]} on {request.vm}, or name its directory under repos of"
            f" {request.vm} in vm-endpoints.json",
            state=State.REFUSED,
        )
    return found if len(found) == 1 else await _without_links(server, found)


async def directory_of(server: OpenCode, request: Request) -> str:
    """The only directory that a request may mean, confirmed by the server.

    Raises:
        PreflightError: ``repo_not_found`` or ``repo_ambiguous``.
        OpenCodeError: The server can't be asked.
    """
    found = await directories_of(server, request)
    if len(found) > 1:
        raise PreflightError(
            f"{request.vm} has several places called {request.repo!r}: {', '.join(found)}",
            reason_code="repo_ambiguous",
            next_action=f"give its directory instead, such as {found[0]}, or name it under repos of"
            f" {request.vm} in vm-endpoints.json",
            state=State.REFUSED,
        )
    return found[0]


async def clone_of(server: OpenCode, options: Mapping[str, Any], vm: str) -> str:
    """The directory of a repo on a VM; its options are ``repo``, ``repos`` and ``repos_root``.

    Raises:
        PreflightError: ``repo_missing``, ``repo_not_found`` or ``repo_ambiguous``.
        OpenCodeError: The server can't be asked.
    """
    if options["repo"] is None:
        raise PreflightError(
            "the claim names no repo, so there is nothing to make a worktree of",
            reason_code="repo_missing",
            next_action="name the repo: dx-dispatch VM REPO 'what to do' --retry BEAD",
            state=State.REFUSED,
        )
    resolution = Resolution(repos=options["repos"], repos_root=options["repos_root"])
    return await directory_of(server, Request("", "", vm, repo=options["repo"], resolution=resolution))


async def _candidates(server: OpenCode, request: Request) -> list[str]:
    """What a name may stand for. What the file or the caller says goes before every guess."""
    resolution = request.resolution
    repo = request.repo or ""
    named = request.directory or resolution.repos.get(repo)
    if named is None and repo.startswith(("/", "~/")):
        named = repo
    if named is None and resolution.repos_root is not None:
        named = f"{resolution.repos_root.rstrip('/')}/{repo}"
    if named is not None:
        return [await _expanded(server, named)]
    projects = await server.projects()
    known = [place.rstrip("/") for project in projects for place in (project.worktree, *project.sandboxes)]
    of_that_name = [directory for directory in known if directory.rpartition("/")[2] == repo]
    return list(dict.fromkeys([*of_that_name, await _expanded(server, f"~/{repo}")]))


async def _expanded(server: OpenCode, directory: str) -> str:
    """``~/`` is the home of the user that the server runs as."""
    if directory == "~" or directory.startswith("~/"):
        return (await server.paths()).home.rstrip("/") + directory[1:]
    return directory if directory == "/" else directory.rstrip("/")


async def _without_links(server: OpenCode, directories: Sequence[str]) -> list[str]:
    """The first name of each directory."""
    by_place: dict[str, str] = {}
    for directory in directories:
        by_place.setdefault((await server.paths(directory)).directory, directory)
    return list(by_place.values())
