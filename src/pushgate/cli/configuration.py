"""From flags, environment and property files to a gateway. What a flag says, wins."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pushgate.cli.messages import report
from pushgate.cli.options import Body, Connection, GroupKey, Pairs
from pushgate.client import PushGateway
from pushgate.errors import ConfigurationError
from pushgate.properties import PrometheusProperties, load

_DEFINED = "--define"
_CREDENTIALS = ("own.basic_auth_file", "own.bearer_token", "own.bearer_token_file")
# PushGateway's argument: the flag that gives it, and the properties that the flag overrides.
_ARGUMENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "address": ("--address", ("pushgateway.address",)),
    "job": ("--job", ("pushgateway.job",)),
    "grouping_key": ("--group", ("own.grouping_key",)),
    "instance": ("--instance", ("own.instance",)),
    "deadline": ("--timeout", ("own.deadline_seconds",)),
    "retry": ("--retries", ("own.retries",)),
    "compression": ("--compression", ("own.compression",)),
    "basic_auth": ("--user", _CREDENTIALS),
    "bearer_token_file": ("--bearer-token-file", _CREDENTIALS),
    "ca_file": ("--ca-file", ("own.ca_file",)),
    "verify": ("--insecure", ("own.verify",)),
}
_USERINFO = re.compile(r"^((?:[A-Za-z][A-Za-z0-9+.-]*://)?)[^/]*@")


def gateway_for(
    connection: Connection,
    group: GroupKey = GroupKey(labels={}),  # noqa: B008  frozen
    body: Body = Body(),  # noqa: B008  frozen
    *,
    default_job: str | None = None,
    default_timeout: float = 30.0,
    properties: PrometheusProperties | None = None,
) -> PushGateway:
    """Return the gateway that the command line and the configuration name.

    Args:
        connection: How to reach it.
        group: The group.
        body: How metrics are sent.
        default_job: The job if no flag and no property names one.
        default_timeout: Seconds for a push if no flag and no property says how many.
        properties: The configuration, instead of that of the process.

    Raises:
        ConfigurationError: A setting is wrong, or there is no job.
    """
    logging.basicConfig(format="pushgate: %(message)s", level=logging.WARNING)
    found = properties or load(connection.define, external_origin=_DEFINED)
    given = _given(connection, group, body)
    settled = _without_overridden(found, given)
    if "job" not in given and settled.pushgateway.job is None:
        if default_job is None:
            raise ConfigurationError("Which job? Name it with --job.", key="job")
        given["job"] = default_job
    if "deadline" not in given and settled.own.deadline_seconds is None:
        given["deadline"] = default_timeout
    try:
        return PushGateway(**given, on_label_clash=body.on_label_clash, properties=settled)
    except ConfigurationError as error:
        flag = _ARGUMENTS[error.key][0] if error.key in given else ""
        if flag and not error.source:
            error.add_note(f"The value comes from {flag}.")
        raise


def _given(connection: Connection, group: GroupKey, body: Body) -> dict[str, Any]:
    """Return what flags say, as arguments of PushGateway."""
    arguments = {
        "address": connection.address,
        "job": group.job,
        "grouping_key": group.labels or None,
        "instance": group.instance,
        "deadline": connection.timeout,
        "retry": connection.retries,
        "compression": body.compression,
        "basic_auth": _basic_auth(connection),
        "bearer_token_file": connection.bearer_token_file,
        "ca_file": connection.ca_file,
        "verify": False if connection.insecure else None,
    }
    for name in ("address", "job", "instance"):
        _check_text(_ARGUMENTS[name][0], arguments[name])
    for text in (*group.labels, *group.labels.values()):
        _check_text("--group", text)
    return {name: value for name, value in arguments.items() if value is not None}


def _check_text(flag: str, value: Any) -> None:
    """Refuse bytes of the command line that are not UTF-8: Python reads them as surrogates."""
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigurationError(f"{flag}: {value!r} is not valid UTF-8", key=flag)


def _basic_auth(connection: Connection) -> tuple[str, str] | None:
    if connection.user is None and connection.password_file is None:
        return None
    if connection.user is None or connection.password_file is None:
        raise ConfigurationError("--user and --password-file belong together", key="basic_auth")
    _check_text("--user", connection.user)
    try:
        password = Path(connection.password_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(
            f"--password-file: {connection.password_file} cannot be read: {reason}",
            key="basic_auth",
        ) from error
    return connection.user, password.removesuffix("\n").removesuffix("\r")


def _without_overridden(
    properties: PrometheusProperties, given: Mapping[str, Any]
) -> PrometheusProperties:
    """Return *properties* without those that the arguments *given* by flags override."""
    overridden = {key for name in given for key in _ARGUMENTS[name][1]}
    address = given.get("address", "")
    if "://" in address:
        overridden.add("pushgateway.scheme")
    if _USERINFO.match(address):
        overridden |= set(_CREDENTIALS)
    changes: dict[str, dict[str, Any]] = {"pushgateway": {}, "own": {}}
    for key in overridden:
        section, _, setting = key.partition(".")
        changes[section][setting] = None
    configured = properties.pushgateway.address
    if configured and "address" not in given and given.keys() & {"basic_auth", "bearer_token_file"}:
        changes["pushgateway"]["address"] = _USERINFO.sub(r"\1", configured)
    labels = properties.own.grouping_key
    if labels and "instance" in given and "grouping_key" not in given:
        changes["own"]["grouping_key"] = {k: v for k, v in labels.items() if k != "instance"}
    return replace(
        properties,
        pushgateway=replace(properties.pushgateway, **changes["pushgateway"]),
        own=replace(properties.own, **changes["own"]),
    )


def tolerant_properties(defined: Pairs, address: str | None) -> PrometheusProperties:
    """Return the properties without those that are wrong, each of which is reported.

    Args:
        defined: Properties given by --define.
        address: The gateway, if a flag names it.

    Raises:
        ConfigurationError: What is wrong was given by a flag; or a property file cannot be
            read, and so nobody knows where the gateway is.
    """
    logging.basicConfig(format="pushgate: %(message)s", level=logging.WARNING)
    environment = dict(os.environ)
    while True:
        try:
            return load(defined, env=environment, strict=False, external_origin=_DEFINED)
        except ConfigurationError as error:
            variable = error.source.removeprefix("$")
            if variable in environment and variable != error.source:
                del environment[variable]
            elif error.source not in ("", _DEFINED) and address is not None:
                environment["PROMETHEUS_CONFIG"] = ""  # no file at all
            else:
                raise
            report(error)
