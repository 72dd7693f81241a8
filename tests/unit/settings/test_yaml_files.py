"""YAML files that are none are told by one line, whatever PyYAML makes of them."""

import pytest

from trainer.errors import UsageError
from trainer.settings.resolve import read_config_file
from trainer.settings.yaml_files import NotYaml, read_yaml_file


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("seed: 1\n".encode("utf-16"), "found the byte 0xff, expected UTF-8"),
        (b"when: 2026-13-01", "month must be in 1..12"),
        (b"x: " + b"[" * 5000, "nested too deeply"),
        (b"x: !!int ''", "index out of range"),
        (b"x: !!timestamp soon", "group"),
        (b"x: !!bool maybe", "maybe"),
        (b"a: [1", "line 1, column 6: while parsing a flow sequence expected ',' or ']'"),
        (b'request: "\\ud83d"', "found \\ud83d, which is half of a surrogate pair"),
    ],
)
def test_what_is_no_yaml_is_told_in_a_line(tmp_path, content, words):
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(NotYaml) as error:
        read_yaml_file(file)
    assert words in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UsageError, match="is not valid YAML"):
        read_config_file(str(file))


def test_what_is_wrong_with_a_yaml_file_is_told_without_its_text(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("seed: 3\nvllm_server_api_key: [sk-of-mine\n")
    with pytest.raises(NotYaml) as error:
        read_yaml_file(file)
    assert "line 3" in str(error.value) and "sk-of-mine" not in str(error.value)


def test_what_is_yaml_is_read(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("seed: 3\nname: é\n", encoding="utf-8")
    assert read_yaml_file(file) == {"seed": 3, "name": "é"}
