"""Builds the gateway from flags, the environment and property files; flags win."""

import os
import re
from collections.abc import Mapping

from pushgate.cli.messages import log_to_stderr, report
from pushgate.cli.options import Connection, GroupKey, Pairs
from pushgate.client.gateway import PushGateway
from pushgate.client.retry import Retry
from pushgate.errors import ConfigurationError
from pushgate.properties import PrometheusProperties, load
from pushgate.properties.files import read_text
from pushgate.properties.schema import Compression

_DEFINED = "--define"
_PREFIXES = ("io.prometheus.", "pushgate.")
_USERINFO = r"\A((?:[A-Za-z][A-Za-z0-9+.-]*://)?)[^/]*@"


def gateway_for(
    connection: Connection,
    group: GroupKey = GroupKey(labels={}),  # noqa: B008  nothing changes it
    *,
    compression: Compression | None = None,
    default_job: str | None = None,
    default_timeout: float = 30.0,
    properties: PrometheusProperties | None = None,
) -> PushGateway:
    """Return the gateway that the flags and the configuration describe.

    *default_job* and *default_timeout*, in seconds, count if no flag and no property says so.
    *properties* are the configuration, instead of that of the process.

    Raises:
        ConfigurationError: A setting is wrong, or there is no job.
    """
    log_to_stderr()
    if properties is None:
        properties = _load(connection.define)
    flags = _flags(connection, group)
    # PushGateway lets properties win over arguments, as client_java does.
    properties = _without_overridden(properties, connection, group)
    job = group.job
    if job is None and properties.pushgateway.job is None:
        job = default_job
        if job is None:
            raise ConfigurationError("The group needs a job: name it with --job.", key="job")
    try:
        return PushGateway(
            connection.address,
            job=job,
            grouping_key=group.labels or None,
            instance=group.instance,
            deadline=connection.timeout or properties.own.deadline_seconds or default_timeout,
            retry=Retry() if connection.retries is None else connection.retries,
            basic_auth=_basic_auth(connection),
            bearer_token_file=connection.bearer_token_file,
            ca_file=connection.ca_file,
            verify=not connection.insecure,
            compression=compression,
            properties=properties,
        )
    except ConfigurationError as error:
        if error.key in flags and not error.source:
            error.comes_from(flags[error.key])
        raise


def tolerant_properties(defined: Pairs, address: str | None) -> PrometheusProperties:
    """Return the valid properties, and report the invalid ones: a job must run all the same.

    *defined* are those of --define, and *address* is the gateway, if a flag names it.

    Raises:
        ConfigurationError: A flag is wrong; or a property file cannot be read, and no flag
            names the gateway.
    """
    log_to_stderr()
    environment = dict(os.environ)
    # This ends, because each round leaves out one more wrong setting.
    while True:
        try:
            return _load(defined, environment, strict=False)
        except ConfigurationError as error:
            variable = error.source.removeprefix("$")
            if variable != error.source and variable in environment:
                del environment[variable]
            elif error.source not in ("", _DEFINED) and address is not None:
                environment["PROMETHEUS_CONFIG"] = ""  # no file at all
            else:
                raise
            report(error)


def _flags(connection: Connection, group: GroupKey) -> dict[str, str]:
    """Return the flags with free text that are given, by the argument of PushGateway they set.

    Raises:
        ConfigurationError: A text is not UTF-8.
    """
    texts = [
        ("address", "--address", connection.address),
        ("job", "--job", group.job),
        ("instance", "--instance", group.instance),
        ("basic_auth", "--user", connection.user),
        *(("grouping_key", "--group", text) for pair in group.labels.items() for text in pair),
    ]
    for argument, flag, text in texts:
        # Bytes of the command line that are not UTF-8 reach Python as lone surrogates (PEP 383).
        if any("\ud800" <= character <= "\udfff" for character in text or ""):
            raise ConfigurationError(f"{flag}: {text!r} is not valid UTF-8", key=argument)
    return {argument: flag for argument, flag, text in texts if text is not None}


def _load(
    defined: Pairs, environment: Mapping[str, str] | None = None, *, strict: bool = True
) -> PrometheusProperties:
    # A file may contain properties of other programs, but a flag is meant for this one.
    foreign = [key for key in defined if not key.lower().startswith(_PREFIXES)]
    if foreign:
        raise ConfigurationError(
            f"{foreign[0]}: Unknown property; properties begin with {' or '.join(_PREFIXES)}",
            key=foreign[0],
            source=_DEFINED,
        )
    return load(defined, env=environment, strict=strict, external_origin=_DEFINED)


def _without_overridden(
    properties: PrometheusProperties, connection: Connection, group: GroupKey
) -> PrometheusProperties:
    """Return *properties* without those that would win over a flag in PushGateway."""
    java, own = properties.pushgateway, properties.own
    if connection.address is not None:
        java = java._replace(address=None)
        # Otherwise the scheme of the properties completes the address.
        if "://" in connection.address:
            java = java._replace(scheme=None)
    elif connection.user or connection.bearer_token_file:
        # PushGateway refuses two kinds of credentials.
        java = java._replace(address=java.address and re.sub(_USERINFO, r"\1", java.address))
    if group.job is not None:
        java = java._replace(job=None)
    if group.instance is not None and own.grouping_key is not None:
        labels = {name: text for name, text in own.grouping_key.items() if name != "instance"}
        own = own._replace(grouping_key=labels or None)
    if connection.timeout is not None:  # it may be PushGateway's default
        own = own._replace(deadline_seconds=None)
    return properties._replace(pushgateway=java, own=own)


def _basic_auth(connection: Connection) -> tuple[str, str] | None:
    if connection.user is None and connection.password_file is None:
        return None
    if connection.user is None or connection.password_file is None:
        raise ConfigurationError("--user and --password-file belong together")
    try:
        password = read_text(connection.password_file)
    except OSError as error:
        raise ConfigurationError(
            f"--password-file: {connection.password_file} cannot be read: {error.strerror}"
        ) from error
    # Editors end the file with a line feed, which is not part of the password.
    return connection.user, password.removesuffix("\n").removesuffix("\r")
