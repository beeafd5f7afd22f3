"""luna reproduce: trained again from its tag, compared, and the verdict kept beside the generation."""

from __future__ import annotations

import json

import pytest

from luna.operations.reproduce import (
    BIT_FOR_BIT,
    OUTSIDE,
    WITHIN,
    Reproduction,
    compare_scores,
    verdict,
)


def test_trained_again_it_is_the_same_bit_for_bit_and_the_verdict_is_beside_it(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    repo.git("checkout", "-q", repo.json("log")[1]["name"])
    assert "git switch main" in repo.luna("reproduce", "1", code=2).stderr
    repo.git("switch", "-q", "main")
    tags = repo.git("for-each-ref", "refs/tags")
    found = repo.json("reproduce", "1")
    assert (
        found["verdict"] == BIT_FOR_BIT
        and found["holds"]
        and found["same_kind"]
        and all(found["same"].values())
    )
    statement = json.loads(repo.git("show", f"main:{found['statement']}"))
    assert (
        statement["_type"] == "https://in-toto.io/Statement/v1"
        and statement["predicateType"] == "https://slsa.dev/provenance/v1"
    )
    digests = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
    assert (
        digests["models/model.gguf"] == repo.json("log")[1]["weights_sha256"]
        and "models/adapter/adapter_model.safetensors" in digests
    )
    built = statement["predicate"]["buildDefinition"]
    assert built["resolvedDependencies"][0]["digest"]["gitCommit"] == repo.git(
        "rev-parse", f"{repo.json('log')[1]['name']}^{{commit}}"
    )
    assert str(repo.path) not in json.dumps(statement)
    # Beside it and not in it: no tag moved, and the line goes on.
    assert repo.git("for-each-ref", "refs/tags") == tags
    assert repo.git("status", "--porcelain") == "" and "up to date" in repo.dvc("status")
    assert "was sealed before" in repo.luna("seal").stdout


def score(value: float | None, low: float = 0.0, high: float = 1.0) -> dict:
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize(("found", "expected"), [(0.85, WITHIN), (0.79, OUTSIDE), (None, OUTSIDE)])
def test_other_bytes_are_judged_by_the_recorded_intervals(found, expected):
    rows = compare_scores(
        {"recall": score(0.9, 0.8, 0.95), "tone_drift": score(None)},
        {"recall": score(found), "tone_drift": score(None)},
    )
    assert rows["tone_drift"]["within"] and rows["recall"]["within"] == (expected == WITHIN)
    assert verdict({"a": True, "b": False}, rows) == expected
    assert verdict({"a": True, "b": True}, {}) == BIT_FOR_BIT
    assert (
        verdict({"a": True, "b": False}, {"recall": rows["recall"]} if expected == OUTSIDE else {})
        == OUTSIDE
    )


@pytest.mark.parametrize(
    ("words", "same_kind", "holds"),
    [
        (BIT_FOR_BIT, True, True),
        (WITHIN, False, True),
        (WITHIN, True, False),
        (OUTSIDE, False, False),
    ],
)
def test_on_the_same_kind_of_device_only_the_same_bytes_will_do(words, same_kind, holds):
    assert Reproduction("G", words, {}, {}, same_kind, {}, {}, "", "").holds is holds
