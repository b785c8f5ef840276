import pytest

from hamlearn.cli.options import parse_shard, read_settings
from hamlearn.errors import HamlearnError


def test_a_shard_is_two_numbers():
    assert parse_shard("2-of-4") == (2, 4)


@pytest.mark.parametrize("shard", ["3", "a-of-b", "", "1-of-2-of-3"])
def test_a_wrong_shard_is_named(shard):
    with pytest.raises(HamlearnError, match=f"--shard: found '{shard}', expected for example"):
        parse_shard(shard)


def test_settings_are_a_json_text_or_a_file(tmp_path):
    (tmp_path / "a.yaml").write_text("seeds: [3]")
    assert read_settings(str(tmp_path / "a.yaml")) == read_settings('{"seeds": [3]}')
