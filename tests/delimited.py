"""Streams of protobuf messages, each after its length, as pushes and scrapes have them."""

from functools import partial
from io import BytesIO

from google.protobuf.message import Message
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

PROTOBUF = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)


def delimited(*messages: Message) -> bytes:
    stream = BytesIO()
    for message in messages:
        serialize_length_prefixed(message, stream)
    return stream.getvalue()


def undelimited(kind: type[Message], stream: bytes) -> list[Message]:
    return [*iter(partial(parse_length_prefixed, kind, BytesIO(stream)), None)]
