"""The messages of ``io.prometheus.client``, for the protobuf package, made at run time.

Fields stand in the order in which protobuf's text format writes them. Strings are bytes
here: nothing says that a client sent UTF-8. A type is an integer, so that an unknown one
is seen.
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
# Of proto3: zeros are not written, whether a client sent them or not.
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


@cache
def nested_messages(name: str) -> dict[int, str]:
    """Return which fields of the message *name* are messages: number and name."""
    fields = re.findall(r"=(\d+):(\w+)", _SCHEMA.get(name, ""))
    return {int(number): kind for number, kind in fields if kind in _SCHEMA or kind in _TIMESTAMP}


@cache
def message_class(name: str) -> Any:
    """Return the class of the message *name*, such as ``MetricFamily``."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    for file_name, syntax, needed, schema in (
        ("timestamp.proto", "proto3", (), _TIMESTAMP),
        ("metrics.proto", "proto2", ("timestamp.proto",), _SCHEMA),
    ):
        file = descriptor_pb2.FileDescriptorProto(
            name=file_name, package=_PACKAGE, syntax=syntax, dependency=needed
        )
        for name, fields in schema.items():
            message = file.message_type.add(name=name)
            for field in fields.split():
                _add_field(message, field)
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(message: Any, declaration: str) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    name, _, rest = declaration.partition("=")
    number, _, kind = rest.partition(":")
    label = Field.LABEL_REPEATED if kind.endswith("*") else Field.LABEL_OPTIONAL
    kind = kind.removesuffix("*")
    field = message.field.add(name=name, number=int(number), label=label)
    if kind in _SCHEMA or kind in _TIMESTAMP:
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = Field.Type.Value(f"TYPE_{kind.upper()}")
