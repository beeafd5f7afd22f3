"""What Luna writes into git is read back as it was written: hashes.csv, tags, the names of scores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luna import hashes, ledger, scores
from luna.errors import InputError
from luna.params import Promotion
from luna.repo.tag import TagBody, body, fields

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)
ROWS = st.dictionaries(
    NAMES, st.tuples(st.integers(0, 10**15), st.from_regex("[0-9a-f]{64}", fullmatch=True))
)


@given(ROWS)
def test_hashes_csv_is_read_as_it_was_written(rows):
    text = hashes.dumps((path, size, sha256) for path, (size, sha256) in rows.items())
    assert hashes.loads(text.encode()) == rows


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"path,bytes\n",
        b"path,bytes,sha256\na,1\n",
        b"path,bytes,sha256\na,-1,0\n",
        b"path,bytes,sha256\n\xff,1,0\n",
    ],
)
def test_what_is_no_hashes_csv_is_refused(content):
    with pytest.raises(InputError, match="hashes.csv cannot be read"):
        hashes.loads(content)


def test_a_tag_is_read_as_it_was_written():
    made = TagBody.of(
        body(
            "Luna-G001", "a" * 40, "A B <a@b.c> 1700000000 +0100", "G001\n\nParent: 0\nNotes: x: y"
        )
    )
    assert (made.object, made.name) == ("a" * 40, "Luna-G001")
    assert (made.who, made.when) == ("A B <a@b.c>", "2023-11-14T22:13:20Z")
    assert made.fields == {"Parent": "0", "Notes": "x: y"}


@given(st.text())
def test_no_text_breaks_the_reading_of_a_tag(text):
    made = TagBody.of(text)
    assert isinstance(made.who, str) and made.fields == fields(made.message)


def test_the_names_of_scores_are_those_of_the_files():
    assert [score.column for score in scores.IN_LEDGER] == [
        column for column in ledger.COLUMNS if column.startswith("eval_")
    ]
    assert {score.name for score in scores.SCORES} <= Promotion.model_fields.keys()
