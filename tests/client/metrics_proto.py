"""The official protobuf runtime, reading metrics.proto: the oracle for our encoder."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.internal.decoder import _DecodeVarint

# name number type [label], as in metrics.proto; R is repeated.
_MESSAGES = {
    "LabelPair": "name 1 string, value 2 string",
    "Gauge": "value 1 double",
    "Counter": "value 1 double, exemplar 2 Exemplar, created_timestamp 3 Timestamp",
    "Quantile": "quantile 1 double, value 2 double",
    "Summary": "sample_count 1 uint64, sample_sum 2 double, quantile 3 Quantile R,"
    " created_timestamp 4 Timestamp",
    "Untyped": "value 1 double",
    "Histogram": "sample_count 1 uint64, sample_count_float 4 double, sample_sum 2 double,"
    " bucket 3 Bucket R, created_timestamp 15 Timestamp, schema 5 sint32, zero_threshold 6 double,"
    " zero_count 7 uint64, zero_count_float 8 double, negative_span 9 BucketSpan R,"
    " negative_delta 10 sint64 R, negative_count 11 double R, positive_span 12 BucketSpan R,"
    " positive_delta 13 sint64 R, positive_count 14 double R, exemplars 16 Exemplar R",
    "Bucket": "cumulative_count 1 uint64, cumulative_count_float 4 double, upper_bound 2 double,"
    " exemplar 3 Exemplar",
    "BucketSpan": "offset 1 sint32, length 2 uint32",
    "Exemplar": "label 1 LabelPair R, value 2 double, timestamp 3 Timestamp",
    "Metric": "label 1 LabelPair R, gauge 2 Gauge, counter 3 Counter, summary 4 Summary,"
    " untyped 5 Untyped, histogram 7 Histogram, timestamp_ms 6 int64",
    "MetricFamily": "name 1 string, help 2 string, type 3 uint32, metric 4 Metric R, unit 5 string",
}
_PACKAGE = "io.prometheus.client"


def _family_class():
    file = descriptor_pb2.FileDescriptorProto(
        name="metrics_for_tests.proto",
        package=_PACKAGE,
        syntax="proto2",
        dependency=[timestamp_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for entry in fields.split(","):
            field, number, kind, *repeated = entry.split()
            added = message.field.add(name=field, number=int(number), label=3 if repeated else 1)
            scalar = f"TYPE_{kind.upper()}"
            if scalar in descriptor_pb2.FieldDescriptorProto.Type.keys():  # noqa: SIM118  no dict
                added.type = descriptor_pb2.FieldDescriptorProto.Type.Value(scalar)
            elif kind == "Timestamp":
                added.type_name = ".google.protobuf.Timestamp"
            else:
                added.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


MetricFamily = _family_class()


def decode(body):
    """Return the MetricFamily messages of a delimited stream."""
    families, at = [], 0
    while at < len(body):
        size, at = _DecodeVarint(body, at)
        families.append(MetricFamily.FromString(body[at : at + size]))
        at += size
    return families
