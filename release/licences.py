"""The licences of everything that a server installs, with what the wheels bundle.

`python -m release.licences` prints them as a page, read from the packages in this environment.
A licence that is not in ACCEPTED is an error: somebody has to read it first.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

from license_expression import Licensing, get_spdx_licensing

LOCK = Path(__file__).parent.parent / "requirements" / "server.txt"

# Apache-2.0, ours, may be combined with all of these. LGPL and MPL bind those who change the
# package itself, which is installed as it comes.
ACCEPTED = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause"),
    *("BSL-1.0", "blessing", "ISC", "LGPL-2.1-or-later", "LGPL-3.0-only", "MIT", "MIT-0"),
    *("MIT-CMU", "MPL-2.0", "OLDAP-2.8", "PostgreSQL", "PSF-2.0", "Unicode-3.0", "Unlicense"),
    "Zlib",
}

# What packages say in their own words, in those of SPDX.
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "any-OSI": "MIT OR Zlib",  # apsw: any that the OSI approves of
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "MIT License": "MIT",
}

# What wheels bundle without a licence in their own list of parts.
BUNDLED = {
    "apsw": {"SQLite": "blessing"},
    "backports-zstd": {"Zstandard": "BSD-3-Clause"},
    "cffi": {"libffi": "MIT"},
    "cryptography": {"openssl": "Apache-2.0"},
    "google-re2": {"RE2": "BSD-3-Clause", "Abseil": "Apache-2.0"},
    "isal": {"ISA-L": "BSD-3-Clause"},
    "protobuf": {"upb": "BSD-3-Clause", "utf8_range": "MIT"},
    "pyyaml": {"libyaml": "MIT"},
    "uvloop": {"libuv": "MIT"},
}
LIBRARIES = {
    "libcom_err": "MIT",
    "libcrypt": "LGPL-2.1-or-later",
    "libcrypto": "Apache-2.0",
    "libgssapi_krb5": "MIT",
    "libk5crypto": "MIT",
    "libkeyutils": "LGPL-2.1-or-later",
    "libkrb5": "MIT",
    "libkrb5support": "MIT",
    "liblber": "OLDAP-2.8",
    "libldap": "OLDAP-2.8",
    "libpq": "PostgreSQL",
    "libsasl2": "MIT-CMU",
    "libssl": "Apache-2.0",
}


class UnknownLicence(Exception):
    """A part whose licence nobody has accepted."""


class Part(NamedTuple):
    """A package, or what its wheel bundles; *licence* is an SPDX expression."""

    package: str
    name: str
    licence: str


def parts(path: Sequence[str] = tuple(sys.path)) -> list[Part]:
    """Everything that the lock names and that is installed in *path*."""
    locked = {
        canonical(name) for name in re.findall(r"^([\w.-]+)==", LOCK.read_text(), re.MULTILINE)
    }
    found = [each for each in distributions(path=[*path]) if canonical(each.name) in locked]
    return [part for package in found for part in (own(package), *bundled(package))]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def own(package: Distribution) -> Part:
    fields = package.metadata
    said = (
        fields.get("License-Expression"),
        fields.get("License"),
        *(each for each in fields.get_all("Classifier", []) if each.startswith("License ::")),
    )
    licences = [SPDX.get(each, each) for each in said if each]
    if not licences:
        raise UnknownLicence(f"{package.name} names no licence: look it up, and add it to SPDX")
    return Part(package.name, package.name, licences[0])


def bundled(package: Distribution) -> Iterator[Part]:
    """What the wheel's own bills of material, its shared libraries and BUNDLED name."""
    known = BUNDLED.get(canonical(package.name), {})
    yield from (Part(package.name, *each) for each in known.items())
    files = package.files or []
    for file in files:
        if "sboms" in file.parts:
            yield from components(package.name, json.loads(file.read_text()), known)
    libraries = {re.split(r"[-.]", file.name)[0] for file in files if ".libs" in file.parts[0]}
    for name in sorted(libraries):
        if name not in LIBRARIES:
            raise UnknownLicence(f"{package.name} bundles {name}: add its licence to LIBRARIES")
        yield Part(package.name, name, LIBRARIES[name])


def components(package: str, bill: dict, known: Iterable[str]) -> Iterator[Part]:
    for part in bill.get("components", []):
        name, licences = part["name"], part.get("licenses", [])
        if licences:
            yield Part(package, name, licences[0].get("expression") or spdx(licences[0]["license"]))
        elif not (name in known or part.get("purl", "").startswith(("pkg:pypi/", "pkg:rpm/"))):
            # Those of PyPI are the package itself, those of RPM are its shared libraries.
            raise UnknownLicence(f"{package} bundles {name}: add its licence to BUNDLED")


def spdx(licence: dict[str, str]) -> str:
    return licence.get("id") or licence["name"]


@cache
def _licensing() -> Licensing:
    """All licences of SPDX: half a second to read."""
    return get_spdx_licensing()


def is_accepted(licence: str) -> bool:
    """Whether the terms of *licence* are: of an OR one side, of an AND both."""
    return _holds(_licensing().parse(licence, validate=True))


def _holds(node) -> bool:
    operator = getattr(node, "operator", "").strip()
    if operator in ("AND", "OR"):
        return (all if operator == "AND" else any)(_holds(each) for each in node.args)
    return str(node) in ACCEPTED


def page(found: list[Part]) -> str:
    rows = [f"| {part.package} | {part.name} | {part.licence} |" for part in sorted({*found})]
    return "\n".join(
        [
            "# Licences",
            "",
            "Pushgate is under Apache-2.0. A server installs these packages; some bundle others:",
            "",
            "| package | part | licence |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def checked(found: list[Part]) -> list[Part]:
    """*found*, if every licence is accepted."""
    for part in found:
        if not is_accepted(part.licence):
            raise UnknownLicence(
                f"{part.package}: {part.name} is under {part.licence}: read it and add it"
            )
    return found


if __name__ == "__main__":
    try:
        print(page(checked(parts())), end="")
    except UnknownLicence as error:
        sys.exit(f"licences: {error}")
