from pathlib import Path

import pytest

from hamlearn.report.page import write_report
from tests.report.fabricated import Made, make
from tests.report.markup import without_scripts


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Results of all variants and one seed on the demo, and their report."""
    results = make(tmp_path_factory.mktemp("one") / "results")
    write_report(results.settings, results.metrics, results.root, results.out)
    return results


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two corpora, two detectors, three seeds, random weights and broken pictures."""
    reasons = {
        **{f"test_{n}": ("missing", "the corpus has no picture of this name") for n in range(4)},
        "train_3": ("undecodable", "zero bytes"),
        "dev_4": ("too_large", "<b>200000x200000</b> pixels"),
    }
    results = make(
        tmp_path_factory.mktemp("several") / "results",
        corpora={"demo": True, "twitter2017": False},
        variants=("full", "wo_rgcn", "text_only"),
        detectors=("demo", "mask_rcnn"),
        seeds=(0, 1, 2),
        random_weights=True,
        failures=reasons,
    )
    write_report(results.settings, results.metrics, results.root, results.out)
    return results


@pytest.fixture
def page(made: Made) -> str:
    return without_scripts(Path(made.out / "index.html").read_text(encoding="utf-8"))
