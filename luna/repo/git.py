"""Thin, exact wrappers around git's plumbing. Nothing else in Luna starts git."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from luna.errors import StateError

ZERO = "0" * 40


class GitError(StateError):
    """git said no; the sentence carries its own words."""


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


class Reader:
    """Contents of objects, asked one after another of one process; an object that git cannot read costs only itself."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, spec: str) -> bytes | None:
        """The content of an object's id or ``REV:path``; None where it is missing or unreadable."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                ["git", "-C", str(self._root), "cat-file", "--batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"LC_ALL": "C"},
            )
        try:
            self._process.stdin.write(f"{spec}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        header = self._process.stdout.readline().split()
        if len(header) != 3 or not header[2].isdigit():
            return None
        content = self._process.stdout.read(int(header[2]) + 1)
        return content[:-1] if len(content) == int(header[2]) + 1 else None

    def close(self) -> None:
        """End git's process."""
        if self._process:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._process = None

    __del__ = close


class Git:
    """The repository that ``start`` lies in. Raises StateError outside one."""

    def __init__(self, start: Path = Path()) -> None:
        try:
            done = subprocess.run(
                ["git", "-C", str(start), "rev-parse", "--show-toplevel"],
                capture_output=True,
                text=True,
            )
        except FileNotFoundError:
            raise StateError("git is not installed: install git 2.30 or later.") from None
        if done.returncode:
            raise StateError(
                f"{start.resolve()} is not inside a git repository: run the command in your clone of Luna."
            )
        self.root = Path(done.stdout.rstrip("\n"))

    @classmethod
    def bare(cls, folder: Path) -> Git:
        """A repository without a work tree."""
        git = cls.__new__(cls)
        git.root = folder
        return git

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> bytes:
        """Run git and return its output. Raises GitError where it fails, unless ``check`` is off."""
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            input=stdin,
            capture_output=True,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=os.environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"} | dict(env or {}),
        )
        if check and done.returncode:
            words = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise GitError(
                f"git {arguments[0]} failed: {' '.join(words[-3:]) or 'no reason given'}"
            )
        return done.stdout

    def attempt(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and complaints, for a command whose failure is an answer."""
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="surrogateescape",
            env=os.environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
        )
        return done.returncode, done.stdout, done.stderr

    def text(self, *arguments: str, **options) -> str:
        """As ``run``, as text without the line end."""
        return self.run(*arguments, **options).decode("utf-8", "replace").rstrip("\n")

    # -- reading

    def config(self, key: str) -> str | None:
        """A value of git's configuration; None where it is not set."""
        return self.text("config", "--get", key, check=False) or None

    def resolve(self, revision: str) -> str | None:
        """The object's id, or None when there is no such revision."""
        return self.text("rev-parse", "--verify", "--quiet", revision, check=False) or None

    def branch(self) -> str | None:
        """The full reference of the branch that is checked out; None when HEAD is detached."""
        return self.text("symbolic-ref", "--quiet", "HEAD", check=False) or None

    def tags(self) -> list[Tag]:
        """All tags, in one process."""
        rows = self.text(
            "for-each-ref",
            "--format=%(refname:strip=2)%09%(objectname)%09%(*objectname)",
            "refs/tags",
        )
        found = []
        for row in rows.splitlines():
            name, object_id, peeled = row.split("\t")
            found.append(Tag(name, object_id, peeled or object_id, bool(peeled)))
        return found

    def cat(self, specs: Sequence[str]) -> list[bytes | None]:
        """Contents of many objects (``REV:path`` or ids) in one process; None for each that is missing."""
        out = self.run("cat-file", "--batch", stdin="".join(f"{spec}\n" for spec in specs).encode())
        found: list[bytes | None] = []
        position = 0
        for _ in specs:
            end = out.index(b"\n", position)
            header = out[position:end].split()
            position = end + 1
            if header[-1] in (b"missing", b"ambiguous"):
                found.append(None)
                continue
            size = int(header[2])
            found.append(out[position : position + size])
            position += size + 1
        return found

    def reader(self) -> Reader:
        """A reader of many objects by one process of git."""
        return Reader(self.root)

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
        """Whether ``old`` is in the history of ``new``."""
        done = subprocess.run(
            ["git", "-C", str(self.root), "merge-base", "--is-ancestor", old, new],
            capture_output=True,
        )
        return done.returncode == 0

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

    def tree_with(self, paths: Iterable[str]) -> str:
        """A tree: that of HEAD with ``paths`` (files or folders) as they are in the workspace. The index stays as it is."""
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self.run("read-tree", "HEAD", env=env)
            present = [
                path
                for path in paths
                if (self.root / path).exists() or self.text("ls-files", "--", path, env=env)
            ]
            self.run("add", "--all", "--", *present, env=env)
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

    def commit_tree(self, tree: str, parents: str | Sequence[str], message: str) -> str:
        """Make a commit of a tree. Returns its id; no branch moves."""
        parents = [parents] if isinstance(parents, str) else parents
        return self.text(
            "commit-tree",
            tree,
            *(word for parent in parents for word in ("-p", parent)),
            stdin=message.encode(),
        )

    def tag_object(self, name: str, commit: str, message: str) -> str:
        """Write an annotated tag's object without making the reference; signed where git is set to sign tags by SSH."""
        tagger = self.text("var", "GIT_COMMITTER_IDENT")
        body = f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message.rstrip()}\n"
        if self.signs:
            body += self._ssh_signature(body)
        return self.text("mktag", stdin=body.encode())

    @property
    def signs(self) -> bool:
        """Whether 'tag.gpgSign' is on and 'gpg.format' is ssh; the only signatures that Luna makes."""
        return (
            self.config("gpg.format") == "ssh"
            and self.text("config", "--bool", "tag.gpgSign", check=False) == "true"
        )

    def _ssh_signature(self, body: str) -> str:
        """What 'git tag --sign' would put after the body. Raises GitError when the key cannot sign."""
        key = self.config("user.signingKey")
        if not key:
            raise GitError(
                "tag.gpgSign is on, but git has no key to sign with: git config user.signingKey FILE."
            )
        with tempfile.TemporaryDirectory() as scratch:
            file, literal = Path(scratch) / "body", key.removeprefix("key::")
            file.write_text(body, encoding="utf-8", newline="\n")
            in_agent = key.startswith(("key::", "ssh-"))
            if in_agent:
                (Path(scratch) / "key.pub").write_text(literal + "\n", encoding="utf-8")
            place = str(Path(scratch) / "key.pub") if in_agent else str(Path(key).expanduser())
            program = self.config("gpg.ssh.program") or "ssh-keygen"
            try:
                done = subprocess.run(
                    [
                        program,
                        "-Y",
                        "sign",
                        "-n",
                        "git",
                        "-f",
                        place,
                        *(["-U"] if in_agent else []),
                        str(file),
                    ],
                    capture_output=True,
                    text=True,
                    stdin=subprocess.DEVNULL,
                )
            except OSError as error:
                raise GitError(
                    f"{program} cannot be started ({error.strerror}): install OpenSSH, or git config tag.gpgSign false."
                ) from None
            if done.returncode:
                raise GitError(
                    f"The tag could not be signed ({(done.stderr.strip().splitlines() or ['no reason given'])[-1]}): see 'git config user.signingKey'."
                )
            return file.with_name("body.sig").read_text(encoding="utf-8").replace("\r", "")

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
