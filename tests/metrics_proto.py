"""The messages of ``io.prometheus.client``, compiled from client_model's metrics.proto.

The real file, protobuf's own compiler and its runtime judge what our encoders write, and write
what our decoders read. ``tests/data/metrics.proto`` is a copy of
github.com/prometheus/client_model at 10dc9df.
"""

import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from grpc_tools import protoc

from tests.delimited import undelimited

DATA = Path(__file__).parent / "data"
PACKAGE = "io.prometheus.client"


@cache
def description() -> descriptor_pb2.FileDescriptorProto:
    """Return what the compiler makes of metrics.proto."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors"
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={DATA}",
                f"--proto_path={files('grpc_tools') / '_proto'}",
                f"--descriptor_set_out={out}",
                "metrics.proto",
            ]
        )
        assert status == 0
        [file] = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return file


def family_class(file: descriptor_pb2.FileDescriptorProto) -> type:
    """Return the class of MetricFamily messages that *file* describes."""
    # A pool of its own: the server has the same messages in the default pool.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    name = f"{file.package}.MetricFamily"
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


MetricFamily = family_class(description())


def decode(body: bytes) -> list:
    """Return the MetricFamily messages of a delimited stream."""
    return undelimited(MetricFamily, body)
