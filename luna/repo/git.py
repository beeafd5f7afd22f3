"""Thin, exact wrappers around git's plumbing; nothing else in Luna starts git.

A program that git itself started (a hook, an alias, 'git rebase --exec') finds the repository of that git in
its environment. Luna asks for the repository by its folder, so those variables are left out for every git here;
the command ``luna`` and the stages take them out of their own process as well, for DVC and whatever else they start.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from luna.errors import StateError
from luna.repo import signing, tag
from luna.repo.tag import TagBody
from luna.start import GIT_VARIABLES
from luna.text import first_line

ZERO = "0" * 40


def environment(root: Path | None = None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every git that Luna starts: no other repository's, and no search above ``root``."""
    kept = {name: value for name, value in os.environ.items() if name not in GIT_VARIABLES}
    above = {"GIT_CEILING_DIRECTORIES": str(root.absolute().parent)} if root else {}
    return kept | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"} | above | dict(more or {})


class GitError(StateError):
    """git refused; the sentence contains git's own words."""


@dataclass(frozen=True)
class Tag:
    """``object`` is the tag object's id, ``commit`` what it points at, ``annotated`` False for a light tag."""

    name: str
    object: str
    commit: str
    annotated: bool


@dataclass(frozen=True)
class Update:
    """One reference to change: from ``old`` (ZERO: it must not exist yet) to ``new``."""

    ref: str
    new: str
    old: str


@dataclass(frozen=True)
class _Batch:
    """A running 'git cat-file --batch', and the three files by which it is spoken with."""

    process: subprocess.Popen[bytes]
    questions: IO[bytes]
    answers: IO[bytes]
    complaints: IO[bytes]


class Reader:
    """Contents of objects, asked one after another of one process; an object that is missing or damaged costs only itself.

    In a partial clone an object that is not here may be at the remote, so a git that dies of it says nothing about
    the object: that is an error of this reader.
    """

    def __init__(self, git: Git) -> None:
        self._git = git
        self._batch: _Batch | None = None

    def __call__(self, spec: str) -> bytes | None:
        """The content of an object's id or ``REV:path``; None where it is missing or damaged. Raises GitError where git could not look."""
        typed = self.typed(spec)
        return typed[1] if typed else None

    def typed(self, spec: str) -> tuple[str, bytes] | None:
        """As a call, with the object's type: ``commit``, ``tree``, ``blob`` or ``tag``."""
        batch = self._running()
        try:
            batch.questions.write(f"{spec}\n".encode())
            batch.questions.flush()
        except BrokenPipeError:
            header = []
        else:
            header = batch.answers.readline().split()
        if header and (len(header) != 3 or not header[2].isdigit()):
            return None
        if header:
            content = batch.answers.read(int(header[2]) + 1)
            if len(content) == int(header[2]) + 1:
                return header[1].decode(), content[:-1]
        batch.process.wait()  # it died of the object
        if self._git.is_partial:
            batch.complaints.seek(0)
            raise _failure(f"git cat-file {spec}", batch.complaints.read())
        return None

    def _running(self) -> _Batch:
        if self._batch and self._batch.process.poll() is None:
            return self._batch
        self.close()
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        process = subprocess.Popen(
            ["git", "-C", str(self._git.root), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment(self._git.root),
        )
        assert process.stdin and process.stdout  # pipes were asked for
        self._batch = _Batch(process, process.stdin, process.stdout, complaints)
        return self._batch

    def close(self) -> None:
        """End git's process."""
        if self._batch:
            with contextlib.suppress(BrokenPipeError):
                self._batch.questions.close()
            self._batch.answers.close()
            self._batch.process.wait()
            self._batch.complaints.close()
            self._batch = None

    __del__ = close


def _failure(command: str, complaints: bytes) -> GitError:
    words = complaints.decode("utf-8", "replace").strip().splitlines()
    return GitError(f"{command} failed: {first_line(' '.join(words[-3:]))}")


def _why_no_repository(start: Path, complaint: bytes) -> str:
    """git's own reason where there is a repository that it does not read: another user's, or a damaged one."""
    refused = next((at for at in (start, *start.parents) if (at / ".git").exists()), None)
    if refused is None:
        return f"{start} is not inside a git repository: run the command in your clone of Luna."
    reason = " ".join(complaint.decode("utf-8", "replace").split()).removeprefix("fatal: ")
    return f"git does not read the repository {refused}: {first_line(reason)}"


class Git:
    """The repository that ``start`` lies in. Raises StateError outside one."""

    def __init__(self, start: Path = Path()) -> None:
        try:
            done = subprocess.run(
                ["git", "-C", str(start), "rev-parse", "--show-toplevel"],
                capture_output=True,
                env=environment(),
            )
        except FileNotFoundError:
            raise StateError("git is not installed: install git 2.30 or later.") from None
        if done.returncode:
            raise StateError(_why_no_repository(start.resolve(), done.stderr))
        self.root = Path(os.fsdecode(done.stdout.removesuffix(b"\n")))

    @classmethod
    def at(cls, folder: Path) -> Git:
        """The repository whose top folder this is, or a bare one; git is not asked whether it is."""
        git = cls.__new__(cls)
        git.root = folder
        return git

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        settings: Sequence[str] = (),
    ) -> bytes:
        """The output of a git command; ``settings`` are KEY=VALUE that count for it alone."""
        done = subprocess.run(
            [
                "git",
                "-C",
                str(self.root),
                *(word for item in settings for word in ("-c", item)),
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=environment(self.root, env),
        )
        if check and done.returncode:
            raise _failure(f"git {arguments[0]}", done.stderr)
        return done.stdout

    def attempt(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and complaints, for a command whose failure is an answer."""
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="surrogateescape",
            env=environment(self.root),
        )
        return done.returncode, done.stdout, done.stderr

    def text(self, *arguments: str, **options) -> str:
        """As ``run``, as text without the line end."""
        return self.run(*arguments, **options).decode("utf-8", "replace").rstrip("\n")

    # -- reading

    @functools.cached_property
    def common_dir(self) -> Path:
        """Git's own folder, which all work trees of this clone share."""
        return self.root / self.text("rev-parse", "--git-common-dir")

    def config(self, key: str) -> str | None:
        """A value of git's configuration; None where it is not set."""
        return self.text("config", "--get", key, check=False) or None

    def resolve(self, revision: str) -> str:
        """The object's id. Raises StateError where there is no such revision."""
        if value := self.try_resolve(revision):
            return value
        if revision.split("^")[0] == "HEAD":
            raise StateError(
                "There is no commit yet: run 'luna init', then commit the project's files."
            )
        raise StateError(
            f"git knows no {revision} here, or its object is missing: run 'luna verify'."
        )

    def try_resolve(self, revision: str) -> str | None:
        """The object's id, or None where there is no such revision."""
        return self.text("rev-parse", "--verify", "--quiet", revision, check=False) or None

    def branch(self) -> str | None:
        """The full reference of the branch that is checked out; None when HEAD is detached."""
        return self.text("symbolic-ref", "--quiet", "HEAD", check=False) or None

    def tags(self) -> list[Tag]:
        """All tags, in one process; a tag whose object is gone is left out, as if it were not there."""
        code, rows, complaints = self.attempt(
            "for-each-ref",
            "--format=%(refname:strip=2)%09%(objectname)%09%(*objectname)",
            "refs/tags",
        )
        if code and self.is_partial:  # the object may be at the remote
            raise _failure("git for-each-ref", complaints.encode("utf-8", "surrogateescape"))
        if code:
            return self._tags_with_objects()
        listed = []
        for row in rows.splitlines():
            name, object_id, peeled = row.split("\t")
            listed.append(Tag(name, object_id, peeled or object_id, bool(peeled)))
        return listed

    def _tags_with_objects(self) -> list[Tag]:
        """Tag by tag, since git gives up at the first whose object is gone."""
        rows = self.text(
            "for-each-ref", "--format=%(refname:strip=2)%09%(objectname)", "refs/tags"
        ).splitlines()
        tags = [row.split("\t") for row in rows]
        peeled = self.text(
            "cat-file",
            "--batch-check=%(objectname)",
            stdin="".join(f"{value}^{{}}\n" for _, value in tags).encode(),
        ).splitlines()
        return [
            Tag(name, value, commit, commit != value)
            for (name, value), commit in zip(tags, peeled, strict=True)
            if " " not in commit  # "... missing"
        ]

    def cat(self, specs: Sequence[str]) -> list[bytes | None]:
        """Contents of many objects (``REV:path`` or ids) in one process; None for each that is missing."""
        out = self.run("cat-file", "--batch", stdin="".join(f"{spec}\n" for spec in specs).encode())
        contents: list[bytes | None] = []
        position = 0
        for _ in specs:
            end = out.index(b"\n", position)
            header = out[position:end].split()
            position = end + 1
            if header[-1] in (b"missing", b"ambiguous"):
                contents.append(None)
                continue
            size = int(header[2])
            contents.append(out[position : position + size])
            position += size + 1
        return contents

    def show(self, revision: str, path: Path | str) -> bytes | None:
        """The content of a file at a revision; None where it is missing."""
        return self.cat([f"{revision}:{Path(path).as_posix()}"])[0]

    def tag_body(self, tag_object: str) -> TagBody:
        """A tag object's content; empty where it is missing."""
        return TagBody.of(self.cat([tag_object])[0])

    def reader(self) -> Reader:
        """A reader of many objects by one process of git."""
        return Reader(self)

    @functools.cached_property
    def is_partial(self) -> bool:
        """Whether objects that are not here may be fetched from a remote when they are asked for ('git clone --filter')."""
        return self.attempt("config", "--get-regexp", r"^remote\..*\.promisor$")[0] == 0

    def existing(self, objects: Iterable[str]) -> set[str]:
        """Those of the objects that are here."""
        wanted = list(objects)
        rows = self.text(
            "cat-file",
            "--batch-check=%(objectname)",
            stdin="".join(f"{item}\n" for item in wanted).encode(),
        ).splitlines()
        return {item for item, row in zip(wanted, rows, strict=True) if row == item}

    def is_ancestor(self, old: str, new: str) -> bool:
        """A commit that is not here is nobody's ancestor. Raises GitError where git cannot walk from one to the other."""
        code, _, complaints = self.attempt("merge-base", "--is-ancestor", old, new)
        if code > 1 and all(self.try_resolve(f"{item}^{{commit}}") for item in (old, new)):
            raise _failure("git merge-base", complaints.encode())
        return code == 0

    def files(self, revision: str, path: str) -> list[str]:
        """Files under ``path`` at a revision, by their whole names."""
        return [
            name
            for name in self.run("ls-tree", "-r", "--name-only", "-z", revision, "--", path)
            .decode("utf-8", "surrogateescape")
            .split("\0")
            if name
        ]

    def first_parents(self, commit: str) -> list[str]:
        """The commit and the first parents before it, newest first."""
        return self.text("rev-list", "--first-parent", commit).splitlines()

    def changed(self) -> list[str]:
        """Tracked paths that differ from the last commit, and staged ones; untracked files do not count."""
        out = self.run("status", "--porcelain=v1", "-z", "--untracked-files=no")
        parts = out.decode("utf-8", "surrogateescape").split("\0")
        paths = []
        skip = False
        for part in parts:
            if skip or not part:
                skip = False
                continue
            paths.append(part[3:])
            skip = part[0] in "RC"
        return paths

    # -- writing

    def tree_with(self, paths: Iterable[str], without: Iterable[Path] = ()) -> str:
        """A tree: that of HEAD with ``paths`` (files or folders) as they are in the workspace, but for ``without``.

        The index stays as it is.
        """
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self.run("read-tree", "HEAD", env=env)
            present = [
                path
                for path in paths
                if (self.root / path).exists() or self.text("ls-files", "--", path, env=env)
            ]
            self.run("add", "--all", "--", *present, env=env)
            # Not by ':(exclude)': 'git add' fails where that names what is ignored.
            left_out = [path.as_posix() for path in without]
            if left_out:
                self.run("rm", "-r", "-q", "--cached", "--ignore-unmatch", "--", *left_out, env=env)
            return self.text("write-tree", env=env)

    def write_files(self, revision: str, paths: Iterable[str]) -> None:
        """Files of a revision into the workspace, over what is there; the index stays as it is and no hook is run."""
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self.run("read-tree", revision, env=env)
            self.run(
                "checkout-index",
                "--force",
                "-z",
                "--stdin",
                stdin="".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape"),
                env=env,
            )

    def require_identity(self) -> None:
        """Raises StateError where git would have to guess who commits, as it does from the machine's name."""
        for role in ("AUTHOR", "COMMITTER"):
            code, _, _ = self.attempt("-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT")
            if code:
                raise StateError(
                    "git does not know who seals: git config --global user.name 'YOUR NAME'; git config --global user.email YOU@EXAMPLE.ORG."
                )

    def committer(self) -> str:
        """Name, address and time, as git writes them into an object. Raises StateError where git knows none."""
        code, identity, _ = self.attempt(
            "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT"
        )
        if code:
            self.require_identity()
        return identity.rstrip("\n")

    def commit_tree(self, tree: str, parents: str | Sequence[str], message: str) -> str:
        """Write a commit; signed where git is set to sign commits."""
        parents = [parents] if isinstance(parents, str) else parents
        try:
            return self.text(
                "commit-tree",
                tree,
                *(word for parent in parents for word in ("-p", parent)),
                *(["-S"] if signing.signs_commits(self) else []),
                stdin=message.encode(),
                settings=("user.useConfigOnly=true", "i18n.commitEncoding=utf-8"),
            )
        except GitError:
            self.require_identity()
            raise

    def tag_object(self, name: str, commit: str, message: str) -> str:
        """Write an annotated tag's object without making the reference; signed where git is set to sign tags."""
        body = tag.body(name, commit, self.committer(), message)
        if signing.signs_tags(self):
            body += signing.sign(self, body)
        return self.text("mktag", stdin=body.encode("utf-8", "surrogateescape"))

    def update(self, updates: Sequence[Update], reason: str) -> None:
        """All references or none, in the order given. Raises GitError when any is not as it was taken to be."""
        lines = [f"update {item.ref} {item.new} {item.old}\n" for item in updates]
        self.run(
            "update-ref",
            "-m",
            reason,
            "--stdin",
            stdin="".join(["start\n", *lines, "prepare\n", "commit\n"]).encode(
                "utf-8", "surrogateescape"
            ),
        )

    def refresh_index(self, paths: Iterable[str]) -> None:
        """Make the index agree with HEAD for ``paths``; the workspace is not touched."""
        known = [path for path in paths if (self.root / path).exists()]
        if known:  # without a path, git would unstage everything
            self.run("reset", "--quiet", "HEAD", "--", *known)
