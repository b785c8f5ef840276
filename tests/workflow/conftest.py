import pytest

from tests.workflow.project import Project


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project in which the stand-in has run the whole demo; tests leave it as they found it."""
    project = Project(tmp_path_factory.mktemp("workflow") / "project")
    project.snakemake("--set-threads", "extract_images_shard=2")
    return project
