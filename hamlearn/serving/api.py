"""The JSON interface of a served model: what it accepts and returns, and its OpenAPI document.

One type describes each body: it checks or writes it, and is its schema in the document.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Base64Encoder, BaseModel, EncodedBytes, Field, ValidationError
from pydantic.json_schema import models_json_schema

import hamlearn
from hamlearn.inference.model_folder import TrainedModel
from hamlearn.inference.posts import Post, Tagged
from hamlearn.sections import Digest, Section, describe

MAX_IMAGES = 8  # of a post
MAX_POSTS = 64  # of a request
MAX_BYTES = 32_000_000  # of a request
MAX_SECONDS = 60.0  # until a request has arrived


class StrictBase64(Base64Encoder):
    """Base64 without characters that are none of it."""

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        """Return the decoded bytes; ValueError if there is anything else."""
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ValueError(f"found {data[:20]!r}, expected a file in base64") from error


class GivenPost(Section):
    """A post to be tagged; it has a text or words."""

    id: str | int | None = Field(None, description="copied to the result")
    text: str | None = Field(None, description="as written; it is split into words")
    words: list[str] | None = Field(None, description="of a post that is already split")
    images: Annotated[
        list[Annotated[bytes, EncodedBytes(encoder=StrictBase64)]], Field(max_length=MAX_IMAGES)
    ] = Field(default=[], description="files in base64: JPEG, PNG, WebP, GIF, BMP or TIFF")
    texts: dict[str, str] = Field(default={}, description="additional texts, by name")

    @property
    def post(self) -> Post:
        """The same as the tagger reads it."""
        words = None if self.words is None else tuple(self.words)
        return Post(self.text, words, images=tuple(self.images), id=self.id, texts=self.texts)


class TagRequest(Section):
    """Posts to be tagged, in one batch."""

    posts: Annotated[list[GivenPost], Field(min_length=1, max_length=MAX_POSTS)]
    explain: bool = Field(False, description="say what images contribute")


class TagResponse(BaseModel):
    """The result of each post, in order, with the fields of a line of `hamlearn predict`.

    Offsets count code points. A post that cannot be tagged has an `error` and spoils no other.
    """

    posts: list[Tagged]


class NetworkOut(BaseModel):
    """A vision network."""

    name: str
    weights: str
    sha256: Digest
    random: bool = Field(description="untrained weights: the features carry no meaning")


class ModelResponse(BaseModel):
    """The model that is served."""

    hamlearn: str
    system: str
    about: str
    seed: int
    types: list[str]
    parameters: int
    dev_f1: dict[str, float] = Field(description="micro F1 on dev, 0 to 1, by scheme")
    reads_images: bool
    texts: list[str] = Field(description="additional texts that it reads, by name")
    networks: dict[str, NetworkOut] = Field(description="that look at images, by kind")
    digest: Digest = Field(description="sha256 of the manifest of the model")

    @classmethod
    def of(cls, model: TrainedModel) -> "ModelResponse":
        """Return the facts of a model."""
        facts = model.facts
        networks = {
            kind: NetworkOut(**one.model_dump(include={*NetworkOut.model_fields}))
            for kind, one in facts.networks.items()
        }
        return cls(
            **facts.model_dump(include={"hamlearn", "system", "seed", "parameters", "dev_f1"}),
            about=facts.network_of_system.about,
            types=facts.types,
            reads_images=bool(facts.inputs.files),
            texts=list(facts.inputs.texts),
            networks=networks,
            digest=model.digest,
        )


class Health(BaseModel):
    """The server answers, and its model is loaded."""

    status: Literal["ok"] = "ok"


class Fault(BaseModel):
    """Why a request was refused, in one sentence."""

    error: str


# Statuses of a refused request.
FAULTS = {
    400: "the connection was cut",
    403: "sent by a page of another site",
    408: f"not complete after {MAX_SECONDS:.0f} seconds",
    413: f"more than {MAX_BYTES // 10**6} MB",
    415: "another type of content than application/json, or another charset than utf-8",
    422: "not what the schema says; the message names the key",
}
# What each path answers: method, sentence, request, response.
OPERATIONS: Mapping[str, tuple[str, str, type[BaseModel] | None, type[BaseModel]]] = {
    "/v1/tag": ("post", "Find the entities of posts.", TagRequest, TagResponse),
    "/v1/model": ("get", "Describe the model.", None, ModelResponse),
    "/healthz": ("get", "Say that the server answers.", None, Health),
}


def read_request(body: bytes) -> TagRequest:
    """Return the request that a body states.

    Raises:
        ValueError: it is another; the message names the key.
    """
    try:
        return TagRequest.model_validate_json(body)
    except ValidationError as error:
        raise ValueError(f"{describe(error)[0]:.300}") from error


def document() -> dict[str, Any]:
    """Return the OpenAPI description of all operations."""
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        (Fault, "serialization")
    ]
    for _, _, request, response in OPERATIONS.values():
        models += [(request, "validation")] if request else []
        models.append((response, "serialization"))
    names, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")

    def content(model: type[BaseModel], mode: Any = "serialization") -> dict[str, Any]:
        return {"application/json": {"schema": names[model, mode]}}

    paths: dict[str, Any] = {}
    for path, (method, about, request, response) in OPERATIONS.items():
        operation: dict[str, Any] = {
            "operationId": path.strip("/").replace("/", "_"),
            "summary": about,
            "responses": {"200": {"description": "done", "content": content(response)}},
        }
        if request is not None:
            operation["requestBody"] = {"required": True, "content": content(request, "validation")}
            for status, reason in FAULTS.items():
                fault = {"description": reason, "content": content(Fault)}
                operation["responses"][str(status)] = fault
        paths[path] = {method: operation}
    about = f"Named entities in posts with images. At most {MAX_POSTS} posts in a request."
    return {
        "openapi": "3.1.0",
        "info": {"title": "hamlearn", "version": hamlearn.__version__, "description": about},
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }
