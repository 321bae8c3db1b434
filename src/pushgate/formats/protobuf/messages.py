"""The messages of ``io.prometheus.client``, declared for the protobuf package at run time.

Fields are listed in the order in which protobuf's text format writes them. Strings are declared
as bytes, because a client may send something else than UTF-8, and types as integers, so that an
unknown type can be reported.
"""

import re
from functools import cache
from typing import Any, Final

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
    from google.protobuf import descriptor_pb2, descriptor_pool

    # A pool of our own: in the default one, another package may have registered the real file.
    pool = descriptor_pool.DescriptorPool()
    kinds = descriptor_pb2.FieldDescriptorProto
    for file_name, syntax, needed, schema in (
        ("timestamp.proto", "proto3", (), _TIMESTAMP),
        ("metrics.proto", "proto2", ("timestamp.proto",), _SCHEMA),
    ):
        file = descriptor_pb2.FileDescriptorProto(
            name=file_name, package=_PACKAGE, syntax=syntax, dependency=needed
        )
        for message_name, fields in schema.items():
            message = file.message_type.add(name=message_name)
            for name, number, kind, repeated in _fields(fields):
                field = message.field.add(name=name, number=int(number))
                field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
                if kind in _SCHEMA or kind in _TIMESTAMP:
                    field.type, field.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
                else:
                    field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
        pool.AddSerializedFile(file.SerializeToString())
    return pool
