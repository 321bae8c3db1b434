"""``pushgate set``: sets gauges from the command line."""

import re

import click

from pushgate.cli.options import Body, Connection, GroupKey, takes
from pushgate.errors import EncodingError

# The number ends without a brace, so that the labels may contain "=" and braces.
_assignment = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})?=([^=}\s]+)", re.DOTALL).fullmatch


@click.command("set")
@takes(connection=Connection, group=GroupKey, body=Body)
@click.argument("values", nargs=-1, required=True, metavar="NAME=VALUE...")
def set_values(
    values: tuple[str, ...], connection: Connection, group: GroupKey, body: Body
) -> None:
    """Set gauges, and keep the other metrics of the group.

    NAME may have labels, as in 'rows{table="a"}=3'.
    """
    from pushgate.cli.configuration import gateway_for
    from pushgate.cli.metrics_text import read_metrics
    from pushgate.client.results import TEXT_TYPE, Payload

    gateway = gateway_for(connection, group, compression=body.compression)
    reserved = body.reserved_labels(gateway.grouping_key)
    samples: dict[str, list[bytes]] = {}
    for value in values:
        match = _assignment(value)
        if match is None:
            raise EncodingError(f"expecting NAME=VALUE, such as rows=3, not {value!r}")
        name, braces, number = match.groups(default="")
        try:
            sample = f"{name}{braces} {number}\n".encode()
        except UnicodeEncodeError as error:
            raise EncodingError(f"{value!r} is not valid UTF-8") from error
        # One by one, so that a message can quote the argument that is wrong.
        read_metrics(sample, repr(value), group_labels=reserved)
        samples.setdefault(name, []).append(sample)
    text = b"".join(
        f"# TYPE {name} gauge\n".encode() + b"".join(lines) for name, lines in samples.items()
    )
    gateway.push_payload(Payload(text, TEXT_TYPE, len(samples), len(values)), add=True)
