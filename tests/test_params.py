import pytest
from conftest import SOURCE

from luna import params
from luna.errors import InputError


def test_the_shipped_file_is_valid_and_states_every_section():
    settings = params.load(SOURCE)
    assert (
        settings.promotion.recall.minimum == 0.9 and settings.promotion.tone_drift.maximum == 0.05
    )
    import yaml

    assert set(yaml.safe_load((SOURCE / "params.yaml").read_text())) == set(
        params.Params.model_fields
    )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"trian": {}}, ("trian", "known here are", "train")),
        ({"train": {"lr": 1}}, ("train.lr", "learning_rate")),
        ({"train": {"learning_rate": -1}}, ("train.learning_rate", "-1", "greater than 0")),
        ({"export": {"quantization": "Q3"}}, ("export.quantization", "Q3", "Q8_0")),
        (
            {"promotion": {"recall": {"minimum": 0.9, "maximum": 1}}},
            ("promotion.recall", "minimum or a maximum"),
        ),
        ({"line": {"prefix": "a b"}}, ("line.prefix",)),
        ([], ("params.yaml",)),
    ],
)
def test_what_is_wrong_is_named(document, words):
    with pytest.raises(InputError) as error:
        params.parse(document, "params.yaml")
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_not_yaml(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [1\n")
    with pytest.raises(InputError, match="not valid YAML"):
        params.load(tmp_path)


def test_writing_the_generation_keeps_comments(tmp_path):
    (tmp_path / "params.yaml").write_text((SOURCE / "params.yaml").read_text())
    params.write_generation(tmp_path, "Luna-G001-20250101-000000", "Luna-G000-20240101-000000")
    text = (tmp_path / "params.yaml").read_text()
    assert params.load(tmp_path).generation.name == "Luna-G001-20250101-000000"
    assert text.count("#") >= (SOURCE / "params.yaml").read_text().count("#") - 1
