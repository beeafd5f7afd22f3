from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luna import names
from luna.errors import InputError
from luna.names import GenerationName


@given(
    st.integers(0, 10**6),
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,10}", fullmatch=True),
)
def test_a_name_reads_back(number, when, prefix):
    name = GenerationName.born(number, prefix, when.replace(tzinfo=UTC))
    assert GenerationName.parse(str(name)) == name
    assert names.number_of(str(name)) == number


def test_names_sort_by_number_beyond_999():
    early, late = (GenerationName(number, "20250101-000000", "Luna") for number in (999, 1000))
    assert early < late and str(late).startswith("Luna-G1000-")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "G1",
        "Luna-G1-20250101-000000",
        "Luna-G001-20251399-000000",
        "Luna-G001-20250101-000000\n",
        "../Luna-G001-20250101-000000",
        "Luna-G001-20250101-000000;rm",
    ],
)
def test_other_texts_are_no_names(text):
    with pytest.raises(InputError):
        GenerationName.parse(text)


def test_references():
    assert [names.number_of(text) for text in ("3", "G003", "g12", "main", "")] == [
        3,
        3,
        12,
        None,
        None,
    ]
    assert names.is_head("HEAD") and names.is_head("Luna-GHEAD") and not names.is_head("G001")
    assert (
        names.assignment_number(names.assignment_tag(7)) == 7
        and names.assignment_number("luna@v1.0.0") is None
    )
