"""Every problem that an audit knows: kind, words, the command that mends it, how bad it is."""

from __future__ import annotations

from enum import Enum, StrEnum, unique

REPAIR = "luna repair"
_OTHER_CLONE = "luna repair (from a git remote or another clone)"
_REMOTE = "luna repair (from a git remote)"
_FETCH = "git fetch, or luna repair"
_SEALED = "none: it was sealed so"
_MADE = "none: it was made so"
_ANSWER = "make sure that the store answers, then luna verify --remote"


class Severity(StrEnum):
    """Whether a promise is broken (exit code 1), or something is only worth knowing."""

    DAMAGE = "damage"
    NOTE = "note"


class Kind(StrEnum):
    """What is concerned: a repair mends kind after kind."""

    OBJECT = "object"  # bytes in the cache or in a cold storage, by the MD5 that names them
    TAG = "tag"
    STRAY = "stray reference"
    HEAD = "head"
    BRANCH = "branch"
    REFERENCES = "references"  # git's own files of references
    SHALLOW = "shallow clone"  # nothing is known of what is older than the cut
    GIT_OBJECT = "git object"
    RECORD = "record"
    COLD_RECORD = "record in cold storage"
    COLD_STORE = "cold storage"  # away, lost, or another line's: neither read nor written
    COLD_GIT = "git objects in cold storage"
    LEDGER = "ledger"
    ALTERED = "altered row"  # a past row of the ledger, in history: a correction puts it back
    WORKSPACE = "workspace file"
    CONTENT = "content"  # what a sealed file says; nothing can mend a sealed contradiction
    SIGNATURE = "signature"


@unique
class Problem(Enum):
    """``words`` take a finding's details in their braces; ``mend`` is what a finding says that has no better remedy."""

    kind: Kind
    words: str
    mend: str
    severity: Severity

    def __init__(
        self, kind: Kind, words: str, mend: str = REPAIR, severity: Severity = Severity.DAMAGE
    ) -> None:
        self.kind, self.words, self.mend, self.severity = kind, words, mend, severity

    # objects; the first detail is the path of the file that the object is
    OBJECT_MISSING = Kind.OBJECT, "{} is missing"
    OBJECT_NOT_PLAIN = Kind.OBJECT, "{} is {} and not a regular file: it was not read"
    OBJECT_UNASKED = Kind.OBJECT, "{} could not be read: {}"
    OBJECT_CUT = Kind.OBJECT, "{} is truncated to {} of {} bytes"
    OBJECT_LONG = Kind.OBJECT, "{} is {} bytes long, not {}"
    OBJECT_UNREAD = Kind.OBJECT, "{} cannot be read: {}"
    OBJECT_OTHER = Kind.OBJECT, "the bytes of {} do not match its name"
    OBJECT_FORGED = (
        Kind.OBJECT,
        "{} has the MD5 that names it but not the SHA-256 that was sealed ({}): the bytes were forged, "
        "or hashes.csv and dvc.lock disagree",
    )
    NOT_CACHED = Kind.OBJECT, "{} is not in the cache", "", Severity.NOTE
    NOT_CACHED_ONLY_LOOK = (
        Kind.OBJECT,
        "{} is not in the cache; 'luna verify --remote' says whether cold storage holds it",
        "",
        Severity.NOTE,
    )
    NOT_CACHED_THINNED = (
        Kind.OBJECT,
        "{} is not in the cache, and cold storage keeps what it is rebuilt from ('luna thin')",
        "",
        Severity.NOTE,
    )
    SEALED_SIZE = Kind.CONTENT, "{} is intact, but its sealed size is another one", _SEALED
    NO_HASH = Kind.CONTENT, "the hash of {} is {!r}, which is not a hash: it was not read", _SEALED
    LEADS_OUT = (
        Kind.CONTENT,
        "the listing of {} names {!r}, which is outside of its folder or not an object: it was not read",
        _SEALED,
    )

    # git's own storage
    SHALLOW = (
        Kind.SHALLOW,
        "this is a shallow clone, which has only the newest part of the history, so nothing can be proven",
        "git fetch --unshallow --tags; where the remote is shallow too: luna repair (from cold storage)",
    )
    GIT_OBJECT_DAMAGED = Kind.GIT_OBJECT, "the object's bytes do not match its name", _OTHER_CLONE
    GIT_OBJECT_MISSING = Kind.GIT_OBJECT, "the object is missing", _OTHER_CLONE
    PACK_DAMAGED = Kind.GIT_OBJECT, "the pack is damaged", _OTHER_CLONE
    TAG_OBJECT_MISSING = Kind.GIT_OBJECT, "the tag's own object is missing", _OTHER_CLONE
    PACKED_LINES = Kind.REFERENCES, "{}"
    PACKED_PEELED = Kind.REFERENCES, "it says that the tag points at {}, which is wrong"
    REFERENCE_FORM = Kind.REFERENCES, "the reference's file is not in git's form"

    # the record of tags
    RECORD_MISSING = Kind.RECORD, "the record of tags is missing"
    RECORD_NOT_BEGUN = (
        Kind.RECORD,
        "the record of tags is missing",
        REPAIR,
        Severity.NOTE,
    )
    RECORD_NOT_FETCHED = (
        Kind.RECORD,
        "the record of tags is not here, because a plain 'git clone' does not bring it",
        "luna init",
        Severity.NOTE,
    )
    RECORD_DAMAGED = Kind.RECORD, "the record of tags is damaged: {}"
    RECORD_OTHER = (
        Kind.RECORD,
        "the seal names another record than this one: entries before it were changed or dropped",
    )
    RECORD_SHORT = Kind.RECORD, "it lacks the last {} entries that cold storage holds"
    COLD_RECORD_DAMAGED = Kind.COLD_RECORD, "{}"
    COLD_RECORD_UNREAD = Kind.COLD_RECORD, "it cannot be read: {}", _ANSWER
    COLD_RECORD_SHORT = Kind.COLD_RECORD, "it lacks the last {} entries of the record"
    COLD_RECORD_OTHER = (
        Kind.COLD_RECORD,
        "git's record and cold storage's differ from entry {} on: one of them was rewritten",
        "luna repair, or compare with another clone",
    )

    # tags
    TAG_NEVER_CAME = Kind.TAG, "it is sealed in this history, but its tag is missing"
    TAG_DELETED = Kind.TAG, "the tag was deleted; the record holds it"
    TAG_BROKEN = Kind.TAG, "its reference is broken; the record holds it"
    TAG_MOVED = Kind.TAG, "the tag was moved or made again: it is {}, the record says {}"
    TAG_UNRECORDED = (
        Kind.TAG,
        "the tag is not in the record: no seal made it, or the seal was interrupted",
    )
    TAG_REFERENCE = Kind.TAG, "the reference is broken"
    TAG_LIGHT = (
        Kind.STRAY,
        "it is a lightweight tag, which a seal never makes: it is not a generation",
    )
    TAG_SECOND = Kind.STRAY, "a second tag for generation {}, which is {}"
    TAG_RENAMED = Kind.STRAY, "it is the tag {} under another name"
    TAG_MADE_AS_OTHER = (
        Kind.CONTENT,
        "the tag object was made for another name",
        "none: it is not a tag of Luna",
    )
    PARAMETERS_OTHER = (
        Kind.CONTENT,
        "the parameters at its commit name {}",
        "luna repair, if the record names another commit",
    )
    SIGNATURE_UNCHECKED = (
        Kind.SIGNATURE,
        "the signature cannot be checked: this clone lacks the signer's key, or does not say whom it trusts",
        "",
        Severity.NOTE,
    )
    SIGNATURE_UNTRUSTED = (
        Kind.SIGNATURE,
        "the signature is good, but its key is not in the allowed signers file",
        "add the signer to gpg.ssh.allowedSignersFile, if you trust the key",
    )
    SIGNATURE_BAD = (
        Kind.SIGNATURE,
        "the signature is not good",
        "none: ask who sealed it",
    )

    # head and branch
    HEAD_TO_NOTHING = (
        Kind.HEAD,
        "move {} of the head names a commit that is not a generation",
        "none: look at 'luna log --head'",
    )
    HEAD_TO_DENIED = (
        Kind.HEAD,
        "move {} of the head names a generation that the rule denied",
        "luna rollback to a promoted generation",
    )
    HEAD_MOVE_GONE = (
        Kind.HEAD,
        "move {} of the head is missing, in the record too",
        _REMOTE,
    )
    HEAD_MISSING = Kind.HEAD, "the head is missing or broken; its last move was to {}"
    HEAD_MOVED = (
        Kind.HEAD,
        "the head was moved without a record: it is at {}, its last recorded move was to {}",
    )
    BRANCH_MISSING = Kind.BRANCH, "the branch is missing or its reference is broken"
    BRANCH_BROKEN = Kind.BRANCH, "the reference is broken"
    BRANCH_REWRITTEN = (
        Kind.BRANCH,
        "the commit that sealed {} was amended or rewritten on this branch",
    )
    BRANCH_BEHIND = (
        Kind.BRANCH,
        "no branch holds {}: a branch was moved back or its reference is broken",
    )
    FORKED = (
        Kind.CONTENT,
        "its commit does not descend from {}'s: the line is forked",
        "none: the line must stay one; see docs/durability.md",
    )

    # the ledger
    LEDGER_MISSING = Kind.LEDGER, "the sealed commit holds no ledger", _REMOTE
    LEDGER_OTHER = Kind.LEDGER, "the ledger at its commit is not the one that its seal names"
    LEDGER_UNREAD = Kind.LEDGER, "{}", _SEALED
    LEDGER_NO_ROW = Kind.LEDGER, "the ledger has no row of this generation", _SEALED
    LEDGER_HERE = Kind.LEDGER, "{}", "luna repair (or 'git restore lineage.csv')"
    ROWS_AT_TIP = Kind.ALTERED, "the branch's ledger is not the sealed one: {}"
    ROWS_ALTERED = Kind.ALTERED, "past rows were altered by this seal: {}"
    ROWS_CORRECTED = (
        Kind.ALTERED,
        "past rows were altered by this seal: {}; they were corrected later",
        "",
        Severity.NOTE,
    )
    LEDGER_WEIGHTS = (
        Kind.CONTENT,
        "weights_sha256 in the ledger is not what its seal names",
        _SEALED,
    )
    LEDGER_PARENT = Kind.CONTENT, "the ledger names parent {}, its seal {}", _SEALED
    PARENT_UNSEALED = Kind.CONTENT, "its parent, generation {}, is not sealed here", _FETCH

    # the artifact set
    LOCK_MISSING = Kind.CONTENT, "the sealed commit lacks dvc.lock or dvc.yaml", _REMOTE
    LOCK_UNREAD = Kind.CONTENT, "dvc.lock cannot be parsed", _SEALED
    HASHES_MISSING = Kind.CONTENT, "the sealed commit lacks hashes.csv", _REMOTE
    HASHES_UNREAD = Kind.CONTENT, "hashes.csv cannot be parsed", _SEALED
    HASHES_OTHER = Kind.CONTENT, "hashes.csv is not the file that the seal names", _SEALED
    HASHES_MODEL = Kind.CONTENT, "hashes.csv and the seal disagree on the model", _SEALED
    WEIGHTS_MODEL = (
        Kind.CONTENT,
        "weights.sha256 and hashes.csv disagree on the model",
        _SEALED,
    )
    OUTPUT_UNLOCKED = (
        Kind.CONTENT,
        "its own pipeline makes it, but its dvc.lock does not name it",
        _SEALED,
    )
    FILE_UNLISTED = (
        Kind.CONTENT,
        "the artifact set lacks it: hashes.csv does not list it",
        _SEALED,
    )
    FILE_MISSING = Kind.CONTENT, "the sealed commit lacks it", _REMOTE
    FILE_OTHER = Kind.CONTENT, "its SHA-256 is not the one in hashes.csv", _SEALED
    ADAPTER_MISSING = Kind.CONTENT, "the adapter that {} builds on is not in its seal", _SEALED

    # snapshots
    SNAPSHOT_FOREIGN = (
        Kind.CONTENT,
        "'luna snapshot' did not make this tag: its content is unknown",
        "none: use another name for tags of your own",
        Severity.NOTE,
    )
    SNAPSHOT_LACKS = Kind.CONTENT, "its commit lacks files that a snapshot has", _REMOTE
    SNAPSHOT_UNREAD = Kind.CONTENT, "its commit cannot be parsed", _MADE
    SNAPSHOT_OTHER = Kind.CONTENT, "its commit and its tag disagree on the content", _MADE

    # the workspace
    HERE_GONE = Kind.WORKSPACE, "it is gone"
    HERE_FOLDER = (
        Kind.WORKSPACE,
        "a folder is in its place",
        "luna repair, which moves the folder to 'quarantine'",
    )
    HERE_FILE = (
        Kind.WORKSPACE,
        "a file is in its place, and a folder belongs there",
        "move it away",
    )
    HERE_OTHER = Kind.WORKSPACE, "it is not as it was sealed"
    HERE_LOCK_OTHER = (
        Kind.WORKSPACE,
        "it is not as it was sealed; DVC would use other files for this generation",
    )
    HERE_LOCK_CUT = (
        Kind.WORKSPACE,
        "it was cut short",
        "luna repair, or luna evolve, which takes its last complete copy",
    )
    HERE_SETTINGS = Kind.WORKSPACE, "{}", "", Severity.NOTE

    # cold storage
    STORE_SILENT = Kind.COLD_STORE, "{}", "make sure that it answers, then luna verify --remote"
    STORE_REFUSED = Kind.COLD_STORE, "{}", ""
    COLD_GIT_UNREAD = Kind.COLD_GIT, "it cannot be read: {}", _ANSWER
    COLD_GIT_NONE = (
        Kind.COLD_GIT,
        "it holds no git objects, so a clone cannot be made from it",
    )
    COLD_GIT_NOT_YET = (
        Kind.COLD_GIT,
        "it holds no git objects, so a clone cannot be made from it",
        "luna archive HEAD",
        Severity.NOTE,
    )
    COLD_GIT_LACKS = Kind.COLD_GIT, "it lacks git's objects of {}"
    COLD_GIT_PARTS = Kind.COLD_GIT, "its git objects lack some that {} needs"
    COLD_GIT_DAMAGED = Kind.COLD_GIT, "its bytes do not match its name"
    COLD_GIT_OTHER = (
        Kind.COLD_GIT,
        "it also holds another {} than the record has ({})",
        "none: two histories were written there; compare with another clone",
    )
