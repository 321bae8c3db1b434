"""The messages of ``io.prometheus.client``, declared for the protobuf package at run time.

Fields are listed in the order in which protobuf's text format writes them. Strings are declared
as bytes, because a client may send something else than UTF-8, and types as integers, so that an
unknown type can be reported.
"""

import re
from functools import cache
from typing import Any, Final

from pushgate.formats.protobuf.wire import field, uint_field
from pushgate.model.family import MetricType

_SCHEMA: Final = {
    "MetricFamily": "name=1:bytes help=2:bytes type=3:int32 metric=4:Metric*",
    "Metric": (
        "label=1:LabelPair* gauge=2:Gauge counter=3:Counter summary=4:Summary "
        "untyped=5:Untyped histogram=7:Histogram timestamp_ms=6:int64"
    ),
    "LabelPair": "name=1:bytes value=2:bytes",
    "Gauge": "value=1:double",
    "Untyped": "value=1:double",
    "Counter": "value=1:double exemplar=2:Exemplar created_timestamp=3:Timestamp",
    "Quantile": "quantile=1:double value=2:double",
    "Summary": (
        "sample_count=1:uint64 sample_sum=2:double quantile=3:Quantile* "
        "created_timestamp=4:Timestamp"
    ),
    "Histogram": (
        "sample_count=1:uint64 sample_count_float=4:double sample_sum=2:double bucket=3:Bucket* "
        "created_timestamp=15:Timestamp schema=5:sint32 zero_threshold=6:double "
        "zero_count=7:uint64 zero_count_float=8:double negative_span=9:BucketSpan* "
        "negative_delta=10:sint64* negative_count=11:double* positive_span=12:BucketSpan* "
        "positive_delta=13:sint64* positive_count=14:double* exemplars=16:Exemplar*"
    ),
    "Bucket": (
        "cumulative_count=1:uint64 cumulative_count_float=4:double upper_bound=2:double "
        "exemplar=3:Exemplar"
    ),
    "BucketSpan": "offset=1:sint32 length=2:uint32",
    "Exemplar": "label=1:LabelPair* value=2:double timestamp=3:Timestamp",
}
# A proto3 message: zeros are not written, whether a client sent them or not.
_TIMESTAMP: Final = {"Timestamp": "seconds=1:int64 nanos=2:int32"}
_PACKAGE = "io.prometheus.client"
# As google/protobuf/descriptor.proto numbers them.
_OPTIONAL, _REPEATED = 1, 3
_MESSAGE = 11
_TYPES: Final = {
    "double": 1, "int64": 3, "uint64": 4, "int32": 5, "bytes": 12, "uint32": 13, "sint32": 17,
    "sint64": 18,
}  # fmt: skip

VALUE_FIELDS: Final = {
    MetricType.COUNTER: "counter",
    MetricType.GAUGE: "gauge",
    MetricType.SUMMARY: "summary",
    MetricType.UNTYPED: "untyped",
    MetricType.HISTOGRAM: "histogram",
    MetricType.GAUGE_HISTOGRAM: "histogram",
}
"""The field of a ``Metric`` that holds the value of a type."""


_fields = re.compile(r"(\w+)=(\d+):(\w+)(\*?)").findall


@cache
def nested_messages(name: str) -> dict[int, str]:
    """Return which fields of the message *name* are messages: number and name."""
    fields = _fields(_SCHEMA.get(name, ""))
    return {int(at): kind for _, at, kind, _ in fields if kind in _SCHEMA or kind in _TIMESTAMP}


@cache
def message_class(name: str) -> Any:
    """Return the class of the message *name*, such as ``MetricFamily``."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> Any:
    from google.protobuf import descriptor_pool

    # A pool of our own: in the default one, another package may have registered the real file.
    pool = descriptor_pool.DescriptorPool()
    for file, syntax, schema in (("time", "proto3", _TIMESTAMP), ("metrics", "proto2", _SCHEMA)):
        # A FileDescriptorProto: name 1, package 2, dependency 3, message_type 4, syntax 12. It is
        # written here because importing descriptor_pb2 takes as long as all the rest.
        parts = [(1, file), (2, _PACKAGE), (12, syntax), *([(3, "time")] if file != "time" else ())]
        head = b"".join(field(at, said.encode()) for at, said in parts)
        pool.AddSerializedFile(head + b"".join(field(4, _message(m, schema[m])) for m in schema))
    return pool


def _message(name: str, fields: str) -> bytes:
    """Return a DescriptorProto: name 1, field 2."""
    return field(1, name.encode()) + b"".join(field(2, _field(*one)) for one in _fields(fields))


def _field(name: str, number: str, kind: str, repeated: str) -> bytes:
    """Return a FieldDescriptorProto: name 1, number 3, label 4, type 5, type_name 6."""
    label = _REPEATED if repeated else _OPTIONAL
    wire = field(1, name.encode()) + uint_field(3, int(number)) + uint_field(4, label)
    if kind in _TYPES:
        return wire + uint_field(5, _TYPES[kind])
    return wire + uint_field(5, _MESSAGE) + field(6, f".{_PACKAGE}.{kind}".encode())
