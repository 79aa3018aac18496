"""Which code runs, as ``adrelay_build_info`` says it."""

import subprocess
from pathlib import Path

from infra.deploy.services.directories import CHECKOUT
from infra.version import UNKNOWN, find_commit, find_release


def git(*words: str | Path, folder: Path) -> str:
    done = subprocess.run(  # noqa: S603 - git, with our own words
        ("git", *words),  # noqa: S607 - the one on the path
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(folder), "GIT_CONFIG_GLOBAL": "/dev/null", "PATH": "/usr/bin:/bin"},
    )
    return done.stdout.strip()


def make_repository(folder: Path) -> str:
    folder.mkdir()
    git("init", "-q", "-b", "main", folder=folder)
    names = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    git(*names, "commit", "-q", "--allow-empty", "-m", "x", folder=folder)
    return git("rev-parse", "HEAD", folder=folder)


def test_the_commit_is_that_of_the_branch_of_packed_branches_and_of_no_branch(
    tmp_path: Path,
) -> None:
    commit = make_repository(tmp_path / "repository")

    assert find_commit(tmp_path / "repository") == commit
    git("pack-refs", "--all", folder=tmp_path / "repository")
    assert find_commit(tmp_path / "repository") == commit
    git("checkout", "-q", "--detach", folder=tmp_path / "repository")
    assert find_commit(tmp_path / "repository") == commit


def test_a_linked_worktree_has_the_commit_of_its_own_branch(tmp_path: Path) -> None:
    commit = make_repository(tmp_path / "repository")
    git("worktree", "add", "-q", "../linked", folder=tmp_path / "repository")

    assert find_commit(tmp_path / "linked") == commit


def test_without_a_repository_the_commit_is_unknown(tmp_path: Path) -> None:
    assert find_commit(tmp_path) == UNKNOWN


def test_the_release_of_a_checkout_is_that_of_its_project_file() -> None:
    assert f'version = "{find_release()}"' in (CHECKOUT / "pyproject.toml").read_text()
