import pytest
from pydantic_core import PydanticCustomError

from hamlearn.sources import Source, module_file, parse_source


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("torchvision:resnet152", "torchvision", "resnet152"),
        ("timm:vit_base_patch16_clip_224.openai", "timm", "vit_base_patch16_clip_224.openai"),
        ("transformers:google/vit-base", "transformers", "google/vit-base"),
        ("transformers:my models/vit:1", "transformers", "my models/vit:1"),
        ("transformers:/data/vit", "transformers", "/data/vit"),
        ("python:a.b_1:load", "python", "a.b_1:load"),
    ],
)
def test_a_source_is_a_library_and_a_name_there(text, kind, name):
    assert parse_source(text) == Source(kind, name)


def test_a_python_source_is_a_function_of_a_module():
    source = parse_source("python:a.b:load")
    assert (source.module, source.function) == ("a.b", "load")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.b:load", "expected one of torchvision:.*; did you mean python:a.b:load?"),
        ("transformer:google/vit", "one of torchvision:.*; did you mean transformers?"),
        ("resnet152", "one of torchvision:..., timm:..., transformers:..., python:...$"),
        ("torchvision:", "expected torchvision:NAME"),
        ("torchvision:res net", "expected torchvision:NAME"),
        ("timm:hf_hub:x/y", "expected timm:NAME"),
        ("transformers: ", "expected transformers:ID-or-folder"),
        ("python:a..b:load", "expected python:package.module:function"),
        ("python:a/b.py:load", "expected python:package.module:function"),
        ("", "expected one of"),
    ],
)
def test_another_form_is_refused_with_the_right_one(text, said):
    with pytest.raises(PydanticCustomError, match=said.replace("...,", r"\.\.\.,")):
        parse_source(text)


def test_a_module_is_found_without_importing_it(tmp_path, monkeypatch):
    (tmp_path / "own/deep").mkdir(parents=True)
    for name in ("own/__init__.py", "own/deep/net.py", "flat.py"):
        (tmp_path / name).write_text("raise RuntimeError('imported')\n")
    monkeypatch.chdir(tmp_path)
    assert module_file("own") == tmp_path / "own/__init__.py"
    assert module_file("own.deep.net") == tmp_path / "own/deep/net.py"  # deep has no __init__.py
    assert module_file("flat") == tmp_path / "flat.py"
    assert module_file("flat.more") is None
    assert module_file("own.none") is None
    assert module_file("nowhere_at_all") is None
    assert module_file("hamlearn.sources").name == "sources.py"
