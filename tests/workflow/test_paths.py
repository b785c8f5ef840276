"""Paths that the shell, or Snakemake, could take for something else than a path."""

from tests.workflow.project import Project

ODD = 'it\'s "odd" {{ } $HOME `touch evil` $(touch evil); touch evil & \\ *\n#%'
CHECKOUT = f"{ODD} {{corpus}} {{0}}"


def test_a_checkout_and_its_inputs_may_have_any_name(tmp_path):
    project = Project(tmp_path / CHECKOUT)
    for name in ("train.txt", "test.txt"):
        project.write(f"{ODD}/{name}", "IMGID:1\na O\n")
    project.write(f"{ODD}/weights.safetensors", "weights")
    changes = project.overlay(
        corpus="mine",
        corpora={"mine": {"path": ODD, "images": ODD}},
        image_features={"backbones": {"demo": {"weights": f"{ODD}/weights.safetensors"}}},
        experiments={"tables": ["table1"]},
        variants=["bert"],
    )
    features = "results/features/mine/images/demo.h5"
    project.snakemake("results/report/tables/table1.csv", features, *changes)
    assert {call["path"] for call in project.calls()} == {str(project.folder)}
    assert ODD in [word for call in project.calls() for word in call["words"]]
    assert not list(tmp_path.rglob("evil"))


def test_posts_to_predict_may_have_any_name(tmp_path):
    project = Project(tmp_path / "project")
    project.write(f"{ODD}/posts.jsonl", "{}\n")
    project.write(f"{ODD}/manifest.json", "{}")
    predict = {"model": ODD, "posts": f"{ODD}/posts.jsonl", "images": ODD, "shards": 1}
    project.snakemake(*project.overlay(predict=predict))
    words = project.calls()[0]["words"]
    assert words[:3] == ["predict", ODD, f"{ODD}/posts.jsonl"]
    assert words[words.index("--images") + 1] == ODD
    assert not list(tmp_path.rglob("evil"))


def test_a_checkout_that_python_could_not_import_is_refused(tmp_path):
    project = Project(tmp_path / "co:lon")
    said = project.snakemake("-n", ok=False)
    assert "found `:` in the path of the checkout" in said
    assert "Traceback" not in said
