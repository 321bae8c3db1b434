"""The messages of io.prometheus.client, so loose that they can carry what is wrong.

Strings are bytes and the family type is a number, so that pushes can carry what no
well-behaved client would send.
"""

from functools import cache

from google.protobuf import descriptor_pb2, message_factory

from tests.metrics_proto import description, family_class


def loosened() -> descriptor_pb2.FileDescriptorProto:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto()
    file.CopyFrom(description())
    for message in file.message_type:
        for field in message.field:
            if field.type == kinds.TYPE_STRING:
                field.type = kinds.TYPE_BYTES
            elif field.type == kinds.TYPE_ENUM:
                field.type = kinds.TYPE_INT32
                field.ClearField("type_name")
    return file


MetricFamily = family_class(loosened())


@cache
def message_class(name: str) -> type:
    """Return the class of the message *name*, such as ``Histogram`` or ``Timestamp``."""
    file = MetricFamily.DESCRIPTOR.file
    [timestamp] = file.dependencies
    types = {**timestamp.message_types_by_name, **file.message_types_by_name}
    return message_factory.GetMessageClass(types[name])


TYPES = ("counter", "gauge", "summary", "untyped", "histogram", "gauge_histogram")


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
