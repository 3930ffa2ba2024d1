# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the work did is read from git and the remote, whatever was done to hide it."""

from __future__ import annotations

import base64
import errno
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.dx.fleet.plugins.module_utils.specs import VERIFY_WORK
from ansible_collections.dx.fleet.plugins.module_utils.verify import commands
from ansible_collections.dx.fleet.plugins.module_utils.verify.changed_checks import check_files, is_test_file

from tests.git_clone import Clone
from tests.verify_runs import run_check

PASSES = "echo 3 passed in 0.1s"


@pytest.fixture
def tree(clone: Clone) -> Path:
    return Path(clone.do(dispatch="d1")["path"])


def test_commits_and_lines_and_files(clone: Clone, tree: Path) -> None:
    before = clone.git("rev-parse", "HEAD", at=tree)
    clone.commit(tree, "one.txt", "1\n2\n3\n")
    (tree / "README.md").write_text("short\n")
    head = clone.commit(tree, "two.bin", "\0\1\n")
    (tree / "Makefile").write_text("changed")
    (tree / "new.txt").write_text("new")
    (tree / ".gitignore").write_text("__pycache__/\nignored\n")
    (tree / "ignored").write_text("")
    found = run_check(tree, "true")
    assert (found["head_before"], found["head"], found["head_after"]) == (before, head, head)
    assert [commit["subject"] for commit in found["commits"]] == ["Add two.bin", "Add one.txt"]
    assert found["commits"][0]["commit"] == head
    assert (found["commit_count"], found["rewritten"], found["branch"]) == (2, False, "dx/a")
    assert found["diffstat"] == {"files": 3, "insertions": 4, "deletions": 3}
    assert found["dirty_files"] == [".gitignore", "Makefile"]
    assert found["untracked_files"] == ["new.txt"]
    assert (found["has_changes"], found["pushed"]) == (True, False)


def test_nothing_was_done(tree: Path) -> None:
    found = run_check(tree, PASSES)
    assert (found["has_changes"], found["commit_count"], found["verdict"]) == (False, 0, "verified")
    nothing = run_check(tree, f"touch {tree}/ran; {PASSES}", expect_changes=True)
    assert (nothing["verdict"], nothing["reason_code"]) == ("no_op", "no_changes")
    assert not (tree / "ran").exists()


def test_check_mode_runs_nothing(clone: Clone, tree: Path) -> None:
    clone.commit(tree)
    found = run_check(tree, f"touch {tree}/ran", check=True)
    assert (found["commit_count"], found["changed"]) == (1, False)
    assert "verdict" not in found
    assert not (tree / "ran").exists()


def test_what_the_check_itself_changes_is_not_the_work(clone: Clone, tree: Path) -> None:
    clone.commit(tree)
    found = run_check(tree, f"echo made > made.txt; {PASSES}")
    assert (found["untracked_files"], found["changed"], found["verdict"]) == ([], True, "verified")
    moved = run_check(tree, f"git add made.txt; git commit -qm sneaky; {PASSES}")
    assert (moved["verdict"], moved["reason_code"]) == ("unverified", "head_moved")
    assert moved["head_after"] != moved["head"]


@pytest.mark.parametrize(
    "lie", ["a flag of the index", "the configuration", "a time of long ago", "an excluded name"]
)
def test_hidden_changes_are_seen(clone: Clone, tree: Path, lie: str) -> None:
    readme, before = tree / "README.md", os.stat(tree / "README.md")
    text = "x" * before.st_size
    if lie == "a flag of the index":
        clone.git("update-index", "--assume-unchanged", "README.md", at=tree)
    elif lie == "the configuration":
        for name, value in (
            ("status.showUntrackedFiles", "no"),
            ("core.ignoreStat", "true"),
            ("diff.external", "true"),
        ):
            clone.git("config", name, value)
        (tree / "new.txt").write_text("new")
    elif lie == "a time of long ago":
        clone.git("config", "core.trustctime", "false")
    readme.write_text(text)
    os.utime(readme, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = run_check(tree, PASSES)
    assert found["dirty_files"] == ["README.md"]
    assert found["untracked_files"] == (["new.txt"] if lie == "the configuration" else [])


def test_a_push_is_believed_of_the_remote_only(clone: Clone, tree: Path) -> None:
    head = clone.commit(tree)
    clone.git("update-ref", "refs/remotes/origin/dx/a", head)
    assert run_check(tree, PASSES)["pushed"] is False
    clone.do(dispatch="d1", state="pushed")
    assert run_check(tree, PASSES)["pushed"] is True
    assert run_check(tree, PASSES, ask_remote=False)["pushed"] is None
    clone.remote.rename(clone.remote.with_name("gone"))
    assert run_check(tree, PASSES)["pushed"] is None


def test_history_that_was_written_anew_is_told(clone: Clone, tree: Path) -> None:
    before = clone.commit(tree, "before.txt")
    clone.git("reset", "--quiet", "--hard", "HEAD~1", at=tree)
    clone.commit(tree, "after.txt")
    found = run_check(tree, PASSES, base=before)
    assert (found["rewritten"], found["commit_count"]) == (True, 1)


def test_the_main_checkout_can_be_checked_too(clone: Clone) -> None:
    base = clone.git("rev-parse", "HEAD")
    clone.commit(clone.path)
    found = run_check(clone.path, PASSES, base=base)
    assert (found["commit_count"], found["branch"], found["verdict"]) == (1, "main", "verified")


def test_it_is_unlocked_after_the_check_for_its_own_dispatch(clone: Clone) -> None:
    path = clone.do(dispatch="d1")["path"]
    given = {"unlock": {"repo": str(clone.path), "branch": "dx/a", "worktrees_root": None}}
    for dispatch, wanted in (("d2", False), ("d1", True)):
        assert run_check(path, PASSES, dispatch=dispatch, **given)["unlocked"] is wanted
        assert ("locked dx-fleet" in clone.git("worktree", "list", "--porcelain")) is not wanted
    assert "unlocked" not in run_check(path, PASSES, dispatch="d1")


def test_a_verdict_outlives_a_worktree_that_can_not_be_unlocked(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    path = clone.do(dispatch="d1")["path"]
    monkeypatch.setattr(commands, "worktree", full)
    monkeypatch.setenv("XDG_STATE_HOME", str(clone.home))
    options = {name: spec.get("default") for name, spec in VERIFY_WORK.items()}
    options.update(
        path=path, command=PASSES, dispatch="d1", unlock={"repo": str(clone.path), "branch": "dx/a"}
    )
    found = commands.verify(options, False)
    assert (found["verdict"], found["unlocked"]) == ("verified", False)


@pytest.mark.parametrize("more", [{"state": "absent"}, {"repo": None}], ids=["of another step", "no clone"])
def test_what_is_unlocked_is_named_and_nothing_else_is_done(more: dict[str, str | None]) -> None:
    unlock = {"repo": "/srv/a", "branch": "dx/a"} | more
    given = {"path": "/srv/w", "command": "true", "unlock": {k: v for k, v in unlock.items() if v}}
    assert ArgumentSpecValidator(VERIFY_WORK).validate(given).error_messages


@pytest.mark.parametrize(("path", "reason"), [("nowhere", "not_a_repository"), (".", "not_a_repository")])
def test_no_worktree(clone: Clone, path: str, reason: str) -> None:
    assert run_check(clone.home / path, "true")["reason_code"] == reason


@pytest.mark.parametrize("report", ["/etc/*.xml", "../*.xml", "a/../../b.xml"])
def test_a_report_outside_is_refused(tree: Path, report: str) -> None:
    assert run_check(tree, "true", report=[report])["reason_code"] == "report_outside"


REPORT = "<testsuite><testcase name='a'/></testsuite>"


def checked(tree: Path, command: str, report: str = "report.xml", **options: Any) -> tuple[str, str, str]:
    found = run_check(tree, command, report=[report], **options)
    return found["verdict"], found["reason_code"], found["report"]


def test_a_report_that_the_run_wrote(tree: Path) -> None:
    assert checked(tree, f'echo "{REPORT}" > report.xml') == ("verified", "tests_passed", "fresh")
    command = f'mkdir -p out/deep; echo "{REPORT}" > out/deep/TEST-a.xml'
    assert checked(tree, command, "out/**/TEST-*.xml") == ("verified", "tests_passed", "fresh")


def test_an_old_report_is_removed(tree: Path) -> None:
    (tree / "report.xml").write_text(REPORT)
    assert checked(tree, PASSES) == ("unverified", "report_missing", "missing")
    assert not (tree / "report.xml").exists()


def test_the_reports_of_the_run_are_returned_where_that_is_asked_for(clone: Clone, tree: Path) -> None:
    clone.commit(tree, "old.xml", REPORT)
    command = f'echo "{REPORT}" > a.xml; mkdir b; echo "{REPORT}" > b/c.xml'
    found = run_check(tree, command, report=["**/*.xml"], return_reports=True)
    unpacked = {each["path"]: zlib.decompress(base64.b64decode(each["zlib"])) for each in found["reports"]}
    assert unpacked == {"a.xml": f"{REPORT}\n".encode(), "b/c.xml": f"{REPORT}\n".encode()}
    assert found["reports_left_out"] == 0
    assert "reports" not in run_check(tree, PASSES)


def test_reports_that_are_too_much_are_counted_and_left_out(tree: Path) -> None:
    command = f'echo "{REPORT}" > a.xml; (echo "{REPORT}"; yes " " | head -c 17000000) > b.xml'
    found = run_check(tree, command, report=["*.xml"], return_reports=True)
    assert [each["path"] for each in found["reports"]] == ["a.xml"]
    assert found["reports_left_out"] == 1


def test_a_committed_report_must_be_written_anew(clone: Clone, tree: Path) -> None:
    clone.commit(tree, "report.xml", REPORT)
    assert checked(tree, PASSES) == ("unverified", "report_stale", "stale")
    assert checked(tree, "touch -d '1 hour ago' report.xml") == ("unverified", "report_stale", "stale")
    assert checked(tree, f'echo "{REPORT}" > report.xml') == ("verified", "tests_passed", "fresh")


def test_an_old_file_under_a_new_name_is_old(clone: Clone, tree: Path) -> None:
    clone.commit(tree, "kept.xml", REPORT)
    os.utime(tree / "kept.xml", (1, 1))
    assert checked(tree, "cp -p kept.xml report.xml") == ("unverified", "report_stale", "stale")


def test_a_report_of_the_agents_own_run_is_no_change(tree: Path) -> None:
    (tree / "report.xml").write_text(REPORT)
    assert checked(tree, f'echo "{REPORT}" > report.xml')[0] == "verified"
    found = run_check(tree, "true", report=["report.xml"], expect_changes=True)
    assert (found["verdict"], found["untracked_files"]) == ("no_op", [])


def test_a_report_without_tests(tree: Path) -> None:
    command = f"echo '<testsuite tests=\"42\"/>' > report.xml; {PASSES}"
    assert checked(tree, command) == ("unverified", "no_tests_found", "empty")
    assert checked(tree, "echo 42 tests > report.xml") == ("unverified", "report_unreadable", "unreadable")


@pytest.mark.parametrize(
    ("writes", "reason"),
    [
        ("mkfifo report.xml", "report_unreadable"),
        ("ln -s report.xml report.xml", "report_stale"),
        ("ln -s /dev/zero report.xml", "report_missing"),
        ("mkdir report.xml", "report_missing"),
        ("head -c 20000000 /dev/zero > report.xml", "report_unreadable"),
        (
            'printf \'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>'
            '<testsuite><testcase name="&c;"/></testsuite>\' > report.xml',
            "report_unreadable",
        ),
    ],
)
def test_what_is_written_in_the_place_of_a_report_proves_nothing(
    tree: Path, writes: str, reason: str
) -> None:
    result = run_check(tree, f"{writes}; {PASSES}", report=["report.xml"], return_reports=True, timeout=30.0)
    assert (result["verdict"], result["reason_code"]) == ("unverified", reason)


def test_what_lies_outside_is_neither_read_nor_removed(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "report.xml").write_text(REPORT)
    (tree / "out").symlink_to(outside)
    (tree / "report.xml").symlink_to(outside / "report.xml")
    for pattern in ("out/*.xml", "report.xml", "**/*.xml"):
        assert checked(tree, f'echo "{REPORT}" > {outside}/report.xml', pattern)[:2] == (
            "unverified",
            "report_missing",
        )
    assert (outside / "report.xml").exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [("tests/a.py", True), ("test/x", True), ("src/__tests__/a.ts", True), ("spec/a.rb", True), ("test_a.py", True),
     ("pkg/a_test.go", True), ("a.test.tsx", True), ("a.spec.js", True), ("src/ATest.java", True), ("conftest.py", True),
     ("src/a.py", False), ("contest.py", False), ("latest/a.py", False), ("attest.go", False), ("README.md", False)],
)  # fmt: skip
def test_files_of_tests(path: str, expected: bool) -> None:
    assert is_test_file(path) == expected


@pytest.mark.parametrize(
    ("command", "before", "after", "expected"),
    [
        ("make test", {"Makefile": "test:\n\tpytest\n"}, {"Makefile": "test:\n\techo 42 passed\n"}, ["Makefile"]),
        ("make test", {}, {"Makefile": "test:"}, ["Makefile"]),
        ("make test", {"Makefile": "test:"}, {"GNUmakefile": "test:"}, ["GNUmakefile"]),
        ("make test", {"Makefile": "x: a.py", "a.py": "1"}, {"a.py": "2"}, []),
        ("make test", {"Makefile": "test:\n\t./ci/t.sh", "ci/t.sh": "1"}, {"ci/t.sh": "2"}, ["ci/t.sh"]),
        ("make test", {"Makefile": "include a.mk", "a.mk": "sh b.sh", "b.sh": "1"}, {"b.sh": "2"}, ["b.sh"]),
        ("./run.sh && true", {"run.sh": "1"}, {"run.sh": "2"}, ["run.sh"]),
        ("bash 'ci/run tests'", {"ci/run tests": "1"}, {"run.sh": "2"}, []),
        ("python ci/check.py", {"ci/check.py": "1"}, {"ci/check.py": "2"}, ["ci/check.py"]),
        ("nice -n 5 env A=b python3 -u ci/check.py x", {"ci/check.py": "1"}, {"ci/check.py": "2"}, ["ci/check.py"]),
        ("mypy src/a.py && pytest", {"src/a.py": "1"}, {"src/a.py": "2"}, []),
        ("timeout 60 ./check", {"check": "1"}, {"check": "2"}, ["check"]),
        ("pytest tests/test_a.py", {"tests/test_a.py": "1"}, {"tests/test_a.py": "2"}, []),
        ("tests/run.sh", {"tests/run.sh": "1"}, {"tests/run.sh": "2"}, ["tests/run.sh"]),
        ("npm test", {"package.json": '{"scripts": {"test": "jest"}}'},
         {"package.json": '{"scripts": {"test": "echo ok"}}'}, ["package.json"]),
        ("npm test", {"package.json": '{"scripts": {"test": "jest"}}'},
         {"package.json": '{"scripts": {"test": "jest"}, "dependencies": {"x": "1"}}'}, []),
        ("npm test", {"package.json": '{"scripts": {"test": "sh ci/t.sh"}}', "ci/t.sh": "1"}, {"ci/t.sh": "2"}, ["ci/t.sh"]),
        ("pytest", {"src/a.py": "1", "Makefile": "x"}, {"src/a.py": "2", "Makefile": "y"}, []),
        ("cd a; make", {"src/a.py": "1"}, {"src/a.py": "2"}, []),
        ("python3 -m pytest", {}, {"pytest.py": "print('3 passed in 0.1s')"}, ["pytest.py"]),
        ("make test", {"Makefile": "t:\n\t@python3 -B -m unittest discover"}, {"unittest/__init__.py": ""}, ["unittest/__init__.py"]),
        ("python3 -m pytest", {}, {"src/pytest.py": ""}, []),
        ("pytest", {}, {"conftest.py": "def pytest_sessionfinish(session):\n    session.exitstatus = 0\n"}, ["conftest.py"]),
        ("pytest", {"conftest.py": "def pytest_x():\n    a\n"}, {"conftest.py": "def pytest_x():\n    b\n"}, ["conftest.py"]),
        ("pytest", {}, {"tests/conftest.py": "@pytest.fixture\ndef a():\n    return 1\n"}, []),
        ("pytest", {"pyproject.toml": "[a]\nb=1\n[tool.pytest.ini_options]\nc=1\n"},
         {"pyproject.toml": "[a]\nb=1\n[tool.pytest.ini_options]\naddopts='-k x'\n"}, ["pyproject.toml"]),
        ("pytest", {"pyproject.toml": "[a]\nb=1\n[tool.pytest.ini_options]\nc=1\n"},
         {"pyproject.toml": "[a]\nb=2\n[tool.pytest.ini_options]\nc=1\n"}, []),
        ("go test ./...", {}, {"pytest.ini": "[pytest]\n"}, []),
        ("tox -e py", {"tox.ini": "1"}, {"tox.ini": "2"}, ["tox.ini"]),
        ("echo 'unclosed", {"a.py": "1"}, {"a.py": "2"}, []),
    ],
)  # fmt: skip
def test_files_of_the_check(
    command: str, before: dict[str, str], after: dict[str, str], expected: list[str]
) -> None:
    changed = [path for path in after if before.get(path) != after[path]]
    assert check_files(command, changed, before.get, (before | after).get) == expected
