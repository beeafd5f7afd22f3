"""The head (the current best): the references that a move of it writes."""

from __future__ import annotations

from luna import names
from luna.history.line import Line
from luna.names import GenerationName, assignment_tag, head_tag, version_tag
from luna.repo.git import ZERO, Tag, Update


def head_message(reason: str, name: str, previous: str | None) -> str:
    """What the tags of a head move say."""
    return f"{reason}\n\nGeneration: {name}\nPrevious: {previous or '-'}"


def head_updates(line: Line, name: GenerationName, commit: str, reason: str) -> list[Update]:
    """The head's move to a generation: its version where it has none yet, the next assignment, the head tag."""
    git = line.git
    version, count = version_tag(name.number), max(line.assignments, default=0) + 1
    updates = []
    if version not in line.all_tags:
        updates.append(
            Update(
                f"refs/tags/{version}",
                git.tag_object(
                    version,
                    commit,
                    f"Registering artifact {names.ARTIFACT} version v{name.number}.0.0\n\nGeneration: {name}",
                ),
                ZERO,
            )
        )
    assignment, head = assignment_tag(count), head_tag(line.prefix)
    text = head_message(reason, str(name), line.head_name)
    updates.append(
        Update(f"refs/tags/{assignment}", git.tag_object(assignment, commit, text), ZERO)
    )
    updates.append(
        Update(
            f"refs/tags/{head}",
            git.tag_object(head, commit, text),
            line.head.object if line.head else ZERO,
        )
    )
    return updates


def reason_of(line: Line, move: Tag | None) -> str:
    """Why the head was moved, and where from: the message of a move's tag."""
    if move is None:
        return ""
    return line.git.tag_body(move.object).message


def last_move(line: Line) -> Tag | None:
    """The newest assignment; None where the head has never moved."""
    return line.assignments.get(max(line.assignments, default=0))


def lagging(line: Line) -> list[Update]:
    """The head tag's update where a kill kept it from following the last move; else nothing."""
    move = last_move(line)
    if move is None or (line.head is not None and line.head.commit == move.commit):
        return []
    tag = head_tag(line.prefix)
    made = line.git.tag_object(tag, move.commit, reason_of(line, move))
    return [Update(f"refs/tags/{tag}", made, line.head.object if line.head else ZERO)]
