"""Signs tags as `git tag --sign` does (OpenPGP, SSH, X.509), without making a reference.

Commits are signed by 'git commit-tree' itself. What git is set to sign is signed, or nothing is written.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from luna.errors import StateError
from luna.text import last_line

if TYPE_CHECKING:
    from luna.repo.git import Git

_PROGRAMS = {"openpgp": "gpg", "ssh": "ssh-keygen", "x509": "gpgsm"}
_OFF = "to leave seals unsigned: git config tag.gpgSign false; git config commit.gpgSign false"


class SigningError(StateError):
    """The key cannot sign; the sentence says why."""


class Verdict(Enum):
    """What git says of a tag's signature."""

    NONE = "not signed"
    GOOD = "good"
    UNKNOWN_KEY = "this clone does not have the key, or does not say whom it trusts"
    UNTRUSTED = "good, by a key of nobody in the allowed signers file"
    BAD = "not good"


@dataclass(frozen=True)
class Signature:
    """``kind`` is openpgp, ssh or x509; ``signer`` is whom a good one is of."""

    verdict: Verdict
    kind: str | None = None
    signer: str | None = None


def signs_tags(git: Git) -> bool:
    """Whether git signs tags here."""
    return _is_on(git, "tag.gpgSign")


def signs_commits(git: Git) -> bool:
    """Whether git signs commits here."""
    return _is_on(git, "commit.gpgSign")


def _is_on(git: Git, key: str) -> bool:
    return git.text("config", "--bool", key, check=False) == "true"


def method(git: Git) -> str:
    """openpgp, ssh or x509, as 'gpg.format' says. Raises SigningError for any other."""
    name = git.config("gpg.format") or "openpgp"
    if name not in _PROGRAMS:
        raise SigningError(
            f"git cannot sign by gpg.format '{name}': git config gpg.format openpgp (or ssh, x509); {_OFF}."
        )
    return name


def _program(git: Git, kind: str) -> str:
    return (
        git.config(f"gpg.{kind}.program")
        or (kind == "openpgp" and git.config("gpg.program"))
        or _PROGRAMS[kind]
    )


def require_able(git: Git) -> None:
    """Sign something, where seals are to be signed, so that a key that cannot is known before a training and not after it."""
    if signs_tags(git) or signs_commits(git):
        sign(git, "luna: can this key sign?\n")


def sign(git: Git, body: str) -> str:
    """What 'git tag --sign' would put after the body. Raises SigningError when the key cannot sign."""
    kind = method(git)
    return _by_ssh(git, body) if kind == "ssh" else _by_gpg(git, kind, body)


def _by_gpg(git: Git, kind: str, body: str) -> str:
    key = git.config("user.signingKey") or git.committer().rpartition("> ")[0] + ">"
    done = _start(
        [_program(git, kind), "--status-fd=2", "-bsau", key],
        body.encode("utf-8", "surrogateescape"),
    )
    status = done.stderr.decode("utf-8", "replace").splitlines()
    if done.returncode or not any(line.startswith("[GNUPG:] SIG_CREATED ") for line in status):
        raise _refused("\n".join(line for line in status if not line.startswith("[GNUPG:]")))
    return done.stdout.decode("ascii", "replace").replace("\r", "")


def _by_ssh(git: Git, body: str) -> str:
    key = git.config("user.signingKey")
    if not key:
        raise SigningError(f"git has no key to sign with: git config user.signingKey FILE; {_OFF}.")
    with tempfile.TemporaryDirectory() as scratch:
        file, literal = Path(scratch) / "body", key.removeprefix("key::")
        file.write_bytes(body.encode("utf-8", "surrogateescape"))
        in_agent = key.startswith(("key::", "ssh-"))
        public = Path(scratch) / "key.pub"
        if in_agent:
            public.write_text(literal + "\n", encoding="utf-8")
        key_file = public if in_agent else Path(key).expanduser()
        agent = ["-U"] if in_agent else []
        done = _start(
            [
                _program(git, "ssh"),
                "-Y",
                "sign",
                "-n",
                "git",
                "-f",
                str(key_file),
                *agent,
                str(file),
            ]
        )
        if done.returncode:
            raise _refused(done.stderr.decode("utf-8", "replace"))
        return file.with_name("body.sig").read_text(encoding="utf-8").replace("\r", "")


def _start(command: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=stdin, capture_output=True)
    except OSError as error:
        raise SigningError(
            f"{command[0]}, which git signs with, cannot be started ({error.strerror}): install it; {_OFF}."
        ) from None


def _refused(complaints: str) -> SigningError:
    why = last_line(complaints).rstrip(".")
    return SigningError(
        f"git's key cannot sign ({why}): set another by git config user.signingKey KEY; {_OFF}."
    )


def examine(git: Git, tag: str, body: str) -> Signature:
    """What git says of the signature of a tag object; ``body`` is the object's text."""
    kind = next(
        (
            kind
            for kind, word in (("ssh", "SSH"), ("openpgp", "PGP"), ("x509", "SIGNED"))
            if f"-----BEGIN {word} {'MESSAGE' if kind == 'x509' else 'SIGNATURE'}-----" in body
        ),
        None,
    )
    if kind is None:
        return Signature(Verdict.NONE)
    code, _, complaints = git.attempt("verify-tag", "--raw", tag)
    return (_of_ssh if kind == "ssh" else _of_gpg)(kind, code, complaints)


def _of_ssh(kind: str, code: int, text: str) -> Signature:
    """ssh-keygen has no codes, only sentences."""
    good = next(
        (row for row in text.splitlines() if row.startswith("Good ") and " for " in row), None
    )
    if code == 0 and good:
        return Signature(Verdict.GOOD, kind, good.partition(" for ")[2].partition(" with ")[0])
    if "allowedSignersFile" in text:
        return Signature(Verdict.UNKNOWN_KEY, kind)
    return Signature(Verdict.UNTRUSTED if "No principal matched" in text else Verdict.BAD, kind)


def _of_gpg(kind: str, code: int, text: str) -> Signature:
    """By the status lines of GnuPG's doc/DETAILS."""
    rows = [row.split() for row in text.splitlines() if row.startswith("[GNUPG:] ")]
    status = {row[1]: row[2:] for row in rows if len(row) > 1}
    if code == 0 and "GOODSIG" in status:
        return Signature(Verdict.GOOD, kind, " ".join(status["GOODSIG"][1:]))
    return Signature(Verdict.UNKNOWN_KEY if "NO_PUBKEY" in status else Verdict.BAD, kind)
