"""Whatever a person's git, shell and system are set to, Luna works in this repository, or says in one sentence why not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import BIN, Repo, facts, write_jsonl

from luna.start import GIT_VARIABLES

ALONE = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}


def settings(folder: Path, *rows: tuple[str, str]) -> dict[str, str]:
    """A person's own configuration of git, as an environment."""
    path = folder / "gitconfig"
    for key, value in (("user.name", "Tester"), ("user.email", "tester@example.com"), *rows):
        subprocess.run(["git", "config", "--file", str(path), key, value], check=True)
    return ALONE | {"GIT_CONFIG_GLOBAL": str(path)}


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def doctor(repo: Repo, name: str, env: dict | None = None) -> str:
    """The state of one of the doctor's checks."""
    checks = json.loads(repo.luna("doctor", "--json", code=None, env=env).stdout)
    return next(check["state"] for check in checks if check["name"] == name)


# -- git's hooks


def test_a_folder_of_hooks_for_all_repositories_is_never_written_to(empty, tmp_path):
    repo, shared, log = empty.copy(tmp_path / "mine"), tmp_path / "hooks of mine", tmp_path / "log"
    env = settings(tmp_path, ("core.hooksPath", str(shared)))
    for name in ("commit-msg", "pre-commit", "reference-transaction"):
        script(shared / name, f'echo {name} "$@" >> {log}')
    before = files(shared)
    assert doctor(repo, "git hooks", env) == "warning"
    repo.luna("init", env=env)
    assert files(shared) == before and doctor(repo, "git hooks", env) == "good"
    assert "ready" in (again := repo.luna("init", env=env).stderr) and "hooks" not in again
    # Both are in force: the person's own, and Luna's.
    write_jsonl(repo.path / "data/conversations/second.jsonl", facts("island", range(2)))
    repo.run("git", "add", "-A", env=env)
    repo.run("git", "commit", "-qm", "more", env=env)
    assert {row.split()[0] for row in log.read_text().splitlines()} == {
        path.name for path in shared.iterdir()
    }
    repo.run("git", "tag", "-a", "-m", "x", "snapshot/one", env=env)
    repo.run("git", "tag", "-f", "-a", "-m", "y", "snapshot/one", code=128, env=env)
    script(shared / "commit-msg", "exit 3")
    repo.run("git", "commit", "-q", "--allow-empty", "-m", "no", code=1, env=env)


def test_hooks_of_an_older_init_in_a_folder_for_all_repositories_are_named_with_the_way_out(
    empty, tmp_path
):
    repo, shared = empty.copy(tmp_path / "mine"), tmp_path / "shared hooks"
    env = settings(tmp_path, ("core.hooksPath", str(shared)))
    mark = "# Installed by 'luna init': Luna's check\nexit 1"
    script(shared / "luna/pre-commit", "exit 1")
    for name in ("pre-commit", "reference-transaction", "post-checkout"):
        script(shared / name, mark)
    script(shared / "pre-commit.before-luna", "echo mine")
    script(shared / "post-checkout.before-luna", "exec dvc git-hook post-checkout $@")
    command = repo.luna("init", env=env).stderr.split("to take them out: ")[1].splitlines()[0]
    assert doctor(repo, "hooks elsewhere", env) == "warning"
    assert "mine" in repo.run("git", "commit", "-q", "--allow-empty", "-m", "x", env=env).stderr
    repo.run("sh", "-c", command, env=env)
    assert files(shared) == {"pre-commit": b"#!/bin/sh\necho mine\n"}
    assert "to take them out" not in repo.luna("init", env=env).stderr


def test_a_repository_s_own_hooks_folder_goes_on_to_be_used(empty, tmp_path):
    repo = empty.copy(tmp_path / "mine")
    script(repo.path / "ours/commit-msg", "exit 5")
    repo.git("config", "core.hooksPath", "ours")
    repo.luna("init")
    assert (
        files(repo.path / "ours").keys() == {"commit-msg"} and doctor(repo, "git hooks") == "good"
    )
    repo.git("commit", "-q", "--allow-empty", "-m", "x", code=1)


def test_git_checkout_brings_the_model_where_hooks_are_set_for_all_repositories(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    env = settings(tmp_path, ("core.hooksPath", str(tmp_path / "shared")))
    script(tmp_path / "shared/post-checkout", "touch checked-out")
    repo.luna("init", env=env)
    names = [row["name"] for row in repo.json("log")]
    repo.run("git", "checkout", "-q", names[0], env=env)
    assert repo.dvc("status", "--quiet") == "" and (repo.path / "checked-out").exists()


# -- line ends


def test_a_clone_that_turns_line_ends_is_mended_by_init(empty, tmp_path):
    (tmp_path / "old").mkdir()
    source, env = empty.copy(tmp_path / "source"), settings(tmp_path, ("core.autocrlf", "true"))
    source.git("rm", "-q", ".gitattributes")
    source.commit("as older clones have it")
    repo = Repo(tmp_path / "old" / "luna")
    source.run("git", "clone", "-q", str(source.path), str(repo.path), env=env)
    assert b"\r\n" in (repo.path / "dvc.yaml").read_bytes()
    script(repo.path / ".git/hooks/pre-commit", "# Installed by 'luna init'\r\nexit 1\r")
    own = repo.path / "params.yaml"
    own.write_bytes(own.read_bytes().replace(b"min_probes: auto", b"min_probes: 21"))
    assert doctor(repo, "line ends", env) == "warning"
    repo.luna("init", env=env)
    crlf = [
        name
        for name, content in files(repo.path).items()
        if b"\r\n" in content and not name.startswith((".git/objects", ".git/index"))
    ]
    assert (
        crlf == []
        and b"min_probes: 21" in own.read_bytes()
        and doctor(repo, "line ends", env) == "good"
    )
    repo.run("git", "commit", "-q", "--allow-empty", "-m", "x", env=env)
    changed = repo.run("git", "status", "--porcelain", "--untracked-files=no", env=env).stdout
    assert changed.split() == ["M", "params.yaml"]


def test_a_new_clone_keeps_every_byte(empty, tmp_path):
    env = settings(tmp_path, ("core.autocrlf", "true"), ("core.eol", "crlf"))
    empty.run("git", "clone", "-q", str(empty.path), str(tmp_path / "clone"), env=env)
    listed = empty.git("ls-files").splitlines()
    assert all(
        (tmp_path / "clone" / name).read_bytes() == (empty.path / name).read_bytes()
        for name in listed
    )


# -- variables of git


def test_luna_s_list_of_git_s_variables_is_git_s():
    listed = subprocess.run(
        ["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True
    )
    assert set(listed.stdout.split()) - {"GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"} <= set(
        GIT_VARIABLES
    )


def test_a_hook_of_another_repository_may_run_luna(line, tmp_path):
    repo, other = line.copy(tmp_path / "mine"), Repo(tmp_path / "other")
    other.path.mkdir()
    other.git("init", "-q")
    (other.path / "file").write_text("x")
    other.commit("one")
    names = [row["name"] for row in repo.json("log")]
    luna = f"cd {repo.path} && {BIN / 'luna'}"
    script(
        other.path / ".git/hooks/pre-commit",
        f"{luna} status && {luna} new; {luna} rollback 1 --reason 'a test' && {luna} init && {luna} verify --quick",
    )
    (other.path / "file").write_text("y")
    other.git("commit", "-qam", "two")
    assert (
        other.git("log", "--format=%s").split() == ["two", "one"]
        and other.git("status", "--porcelain") == ""
    )
    assert other.git("for-each-ref", "--format=%(refname)", "refs/tags", "refs/luna") == ""
    assert (
        repo.git("rev-parse", "HEAD", "Luna-GHEAD^{}").split()
        == [repo.git("rev-parse", f"{names[1]}^{{}}")] * 2
    )
    env = {
        "GIT_DIR": str(other.path / ".git"),
        "GIT_WORK_TREE": str(other.path),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
    }
    assert repo.luna("status", "--json", env=env).stdout == repo.luna("status", "--json").stdout


# -- kinds of repositories


def test_git_s_own_reason_and_command_where_the_repository_is_another_user_s(empty):
    text = empty.luna("status", code=2, env={"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}).stderr
    assert (
        "dubious ownership" in text
        and f"git config --global --add safe.directory {empty.path}" in text
    )
    assert len(text.splitlines()) == 1
    outside = subprocess.run([BIN / "luna", "status"], cwd="/", capture_output=True, text=True)
    assert "not inside a git repository" in outside.stderr and outside.returncode == 2


def _sha256(repo: Repo) -> Repo:
    repo.run("rm", "-rf", ".git")
    repo.git("init", "-q", "-b", "main", "--object-format=sha256")
    repo.commit("x")
    return repo


def _submodule(repo: Repo) -> Repo:
    outer = Repo(repo.path.parent / "outer")
    outer.path.mkdir()
    outer.git("init", "-q")
    outer.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo.path), "luna"
    )
    return Repo(outer.path / "luna")


def _worktree(repo: Repo) -> Repo:
    repo.git("worktree", "add", "-q", "-b", "two", str(repo.path.parent / "two"))
    return Repo(repo.path.parent / "two")


def _sparse(repo: Repo) -> Repo:
    repo.git("sparse-checkout", "set", "luna", "data")
    return repo


def _reftable(repo: Repo) -> Repo:
    repo.git("config", "extensions.refStorage", "reftable")
    return repo


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (_sha256, "git init --object-format=sha1"),
        (_submodule, "a submodule of"),
        (_worktree, "git clone"),
        (_sparse, "git sparse-checkout disable"),
        (_reftable, "git refs migrate --ref-format=files"),
    ],
)
def test_a_repository_of_a_kind_that_cannot_work_is_refused_before_anything_is_done(
    empty, tmp_path, make, word
):
    repo = make(empty.copy(tmp_path / "mine"))
    hooks = files(repo.path / ".git/hooks") if (repo.path / ".git").is_dir() else {}
    before = repo.snapshot()
    for command in ("init", "new"):
        text = repo.luna(command, code=2).stderr
        assert word in text and "nothing was" in text and len(text.splitlines()) == 1
    assert repo.snapshot() == before and doctor(repo, "repository") == "bad"
    assert not hooks or files(repo.path / ".git/hooks") == hooks


# -- who seals, and with which key


def test_who_seals_is_asked_before_anything_is_built(empty, tmp_path):
    repo = empty.copy(tmp_path / "mine")
    for key in ("user.name", "user.email"):
        repo.git("config", "--unset", key)
    before = repo.snapshot()
    text = repo.luna("new", code=2, env=ALONE).stderr
    assert "git config --global user.name" in text and len(text.splitlines()) == 1
    assert repo.snapshot() == before


@pytest.mark.parametrize("key", ["tag.gpgSign", "commit.gpgSign"])
def test_a_key_that_cannot_sign_is_named_before_anything_is_built(empty, tmp_path, key):
    (tmp_path / "gpg").mkdir(mode=0o700)
    repo = empty.copy(tmp_path / "mine")
    repo.git("config", key, "true")
    text = repo.luna("new", code=2, env={"GNUPGHOME": str(tmp_path / "gpg")}).stderr
    assert "cannot sign" in text and "gpgSign false" in text and len(text.splitlines()) == 1
    repo.git("config", "gpg.program", "no-such-gpg")
    assert "cannot be started" in repo.luna("new", code=2).stderr


def test_a_seal_is_signed_by_openpgp_where_git_is_set_to(built, tmp_path):
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    repo, env = built.copy(tmp_path / "mine"), {"GNUPGHOME": str(home)}
    repo.run(
        "gpg",
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--quick-gen-key",
        "Tester <tester@example.com>",
        "ed25519",
        "sign",
        env=env,
    )
    for key in ("tag.gpgSign", "commit.gpgSign"):
        repo.git("config", key, "true")
    repo.luna("seal", env=env)
    name = repo.json("status")["newest"]
    repo.run("git", "verify-tag", name, env=env)
    repo.run("git", "verify-commit", f"{name}^{{}}", env=env)
    report = json.loads(repo.luna("verify", "--quick", "--json", env=env).stdout)
    assert (
        report["findings"] == []
        and report["sealed_by"][4]["signer"] == "Tester <tester@example.com>"
    )
    (tmp_path / "none").mkdir(mode=0o700)
    report = json.loads(
        repo.luna("verify", "--quick", "--json", env={"GNUPGHOME": str(tmp_path / "none")}).stdout
    )
    assert [row["severity"] for row in report["findings"]] == ["note"]
    repo.run("gpgconf", "--kill", "gpg-agent", env=env)


# -- letters


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
    ],
)
def test_names_in_any_letters_work_under_any_locale(line, tmp_path, locale):
    line.copy(tmp_path / "mine")
    (tmp_path / "mine").rename(tmp_path / "møll")
    repo = Repo((tmp_path / "møll" / line.path.name).rename(tmp_path / "møll" / "Lüna 月"))
    cold = repo.cold.rename(repo.cold.with_name("kälte"))
    local = repo.path / ".dvc/config.local"
    local.write_text(
        local.read_text("utf-8").replace(str(tmp_path / "mine/cold"), str(cold)), "utf-8"
    )
    write_jsonl(repo.path / "data/conversations/gespräche 雪.jsonl", facts("größe 雪", range(2)))
    for command in (
        ("status",),
        ("log",),
        ("init",),
        ("doctor",),
        ("verify", "--remote", "--all"),
        ("new",),
        ("status", "--json"),
        ("rollback", "1", "--stay", "--reason", "schöner"),
    ):
        repo.luna(*command, env=locale)
    assert "schöner" in repo.luna("log", "--head", env=locale).stdout
