"""The messages of io.prometheus.client, built at run time.

Strings are declared as bytes and the family type as a number, so that pushes can carry what no
well-behaved client would send.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELDS = {
    "MetricFamily": "1 name bytes, 2 help bytes, 3 type int32, 4 metric *Metric, 5 unit bytes",
    "Metric": (
        "1 label *LabelPair, 2 gauge Value, 3 counter Counter, 4 summary Summary, "
        "5 untyped Value, 6 timestamp_ms int64, 7 histogram Histogram"
    ),
    "LabelPair": "1 name bytes, 2 value bytes",
    "Value": "1 value double",
    "Counter": "1 value double, 2 exemplar Exemplar, 3 created_timestamp Timestamp",
    "Quantile": "1 quantile double, 2 value double",
    "Summary": (
        "1 sample_count uint64, 2 sample_sum double, 3 quantile *Quantile, "
        "4 created_timestamp Timestamp"
    ),
    "Histogram": (
        "1 sample_count uint64, 2 sample_sum double, 3 bucket *Bucket, "
        "4 sample_count_float double, 5 schema sint32, 6 zero_threshold double, "
        "7 zero_count uint64, 8 zero_count_float double, 9 negative_span *BucketSpan, "
        "10 negative_delta *sint64, 11 negative_count *double, 12 positive_span *BucketSpan, "
        "13 positive_delta *sint64, 14 positive_count *double, 15 created_timestamp Timestamp, "
        "16 exemplars *Exemplar"
    ),
    "Bucket": (
        "1 cumulative_count uint64, 2 upper_bound double, 3 exemplar Exemplar, "
        "4 cumulative_count_float double"
    ),
    "BucketSpan": "1 offset sint32, 2 length uint32",
    "Exemplar": "1 label *LabelPair, 2 value double, 3 timestamp Timestamp",
    "Timestamp": "1 seconds int64, 2 nanos int32",
}


def described() -> descriptor_pb2.FileDescriptorProto:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="fuzz.proto", package="fuzz", syntax="proto2")
    for message_name, fields in FIELDS.items():
        message = file.message_type.add(name=message_name)
        for line in fields.split(", "):
            number, name, kind = line.split()
            field = message.field.add(name=name, number=int(number))
            repeated, kind = kind.startswith("*"), kind.lstrip("*")
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in FIELDS:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".fuzz.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    return file


def message_class(name: str) -> type:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"fuzz.{name}"))


POOL = descriptor_pool.DescriptorPool()
POOL.Add(described())
MetricFamily = message_class("MetricFamily")

TYPES = ("counter", "gauge", "summary", "untyped", "histogram", "gauge_histogram")


def delimited(families: list) -> bytes:
    bodies = [family.SerializeToString() for family in families]
    return b"".join(varint(len(body)) + body for body in bodies)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def lengths_and_bodies(data: bytes):
    """The length prefixes of *data* with the bytes behind each, up to the first broken one."""
    at = 0
    while at < len(data):
        length = shift = 0
        for byte in data[at : at + 10]:
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        else:
            return
        yield length, data[at : at + length]
        at += length
