"""What the controller asks about open connections [N8], checked (pure): `tlsnodes.open_connections` counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, ValidationError

from pentaflow.config import Buckets, HashKey, HashKind, Model, Name
from pentaflow.misplaced import nearest

MAX_QUESTION_BYTES = 1 << 18
MAX_VSERVERS = 1024


class BucketFunction(Model):
    """What takes a client to a bucket of one vserver."""

    hash: HashKind
    hash_key: HashKey
    buckets: Buckets


class Question(Model):
    """Vserver name → its bucket function."""

    vservers: Annotated[Mapping[Name, BucketFunction], Field(min_length=1, max_length=MAX_VSERVERS)]


class BadQuestion(Exception):
    """The question cannot be answered; `status` is for HTTP, the text never holds a hash key."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def parse_question(body: bytes, known: Sequence[str]) -> Question:
    """Check the body of a request.

    Args:
        body: JSON.
        known: names of the vservers that the node runs.

    Raises:
        BadQuestion: 400 when it is not JSON; 422 when something in it is wrong or no vserver has a name.
    """
    try:
        question = Question.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        place = ".".join(part if str(part).isprintable() else repr(part) for part in map(str, first["loc"]))
        if first["type"] == "json_invalid":
            raise BadQuestion(400, f"not JSON: {message.removeprefix('Invalid JSON: ')}") from None
        raise BadQuestion(422, f"{place}: {message}" if place else message) from None
    for name in question.vservers:
        if name not in known:
            raise BadQuestion(422, f"vservers.{name}: this node has no such vserver{nearest(name, list(known))}")
    return question
