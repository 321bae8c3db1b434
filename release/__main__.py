"""The release checklist: `make release VERSION=x.y.z`. Its artefacts go into dist/.

Nothing leaves this machine: the last line prints the command that tags.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from pushgate import __version__
from release import licences
from tests import journey
from tests.journey import run

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
BIN = Path(sys.executable).parent


def main(version: str) -> None:
    say(f"the repository is ready for {version}")
    if mistakes := [*unready(version)]:
        sys.exit("\n".join(f"release: {each}" for each in mistakes))
    with tempfile.TemporaryDirectory(prefix="pushgate-release-") as folder:
        say("wheel and sdist, twice the same bytes")
        first, second = (built(Path(folder, name)) for name in ("first", "second"))
        if digests(first) != digests(second):
            sys.exit(f"release: two builds differ: {digests(first)} and {digests(second)}")
        shutil.rmtree(DIST, ignore_errors=True)
        shutil.copytree(first, DIST)
        tried = [each for each in VERSIONS if is_tried(each, Path(folder))]
        if not tried:
            sys.exit("release: no interpreter was found to install on")
        say("bill of material, licences, checksums")
        describe(version, Path(folder, f"{tried[0]}-wheel"))
    say(f"served, pushed to, scraped, backed up, restored on Python {', '.join(tried)}")
    say(f"if all is well: git tag --annotate v{version} --message 'Pushgate {version}'")


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def unready(version: str):
    """What has to be done before, one sentence each."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"{version!r} is no version: give VERSION=x.y.z"
    if version != __version__:
        yield f"src/pushgate/version.py says {__version__}"
    if not re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog(), re.MULTILINE
    ):
        yield f"CHANGELOG.md has no heading '## [{version}] - YYYY-MM-DD'"
    if git("status", "--porcelain"):
        yield "there are changes that are not committed"
    if git("tag", "--list", f"v{version}"):
        yield f"the tag v{version} exists"


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text()


def git(*arguments: str) -> str:
    return run("git", "-C", ROOT, *arguments).strip()


def built(folder: Path) -> Path:
    """The directory with the wheel and the sdist of the commit, made in *folder*."""
    archive = folder.with_suffix(".tar")
    git("archive", "--output", str(archive), "HEAD")
    shutil.unpack_archive(archive, folder, filter="data")
    run(sys.executable, "-m", "hatchling", "build", cwd=folder)
    return folder / "dist"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def is_tried(python: str, folder: Path) -> bool:
    """Whether *python* is here; if so, wheel and sdist were installed and used on it."""
    uv = (BIN / "uv", "--quiet", "--no-python-downloads")
    found = subprocess.run(
        [*map(str, uv), "python", "find", python], check=False, capture_output=True
    )
    if found.returncode:
        say(f"Python {python} is not on this machine: not tried")
        return False
    for kind, pattern in (("wheel", "*.whl"), ("sdist", "*.tar.gz")):
        say(f"Python {python}, {kind}")
        (artefact,) = DIST.glob(pattern)
        environment = folder / f"{python}-{kind}"
        run(*uv, "venv", "--python", python, environment)
        pip = (*uv, "pip", "install", "--python", environment)
        run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", licences.LOCK)
        run(*pip, "--no-deps", artefact)
        journey.walk(environment / "bin", environment)
    return True


def describe(version: str, environment: Path) -> None:
    """Write down what *environment* has: parts, licences, and checksums of all artefacts."""
    bill = DIST / f"pushgate-{version}.cdx.json"
    run(
        *(BIN / "cyclonedx-py", "environment", "--output-reproducible"),
        *("--pyproject", ROOT / "pyproject.toml", "--output-file", bill, environment),
    )
    described = json.loads(bill.read_text())
    described["metadata"]["component"]["version"] = version  # pyproject.toml leaves it to hatch
    bill.write_text(json.dumps(described, indent=2) + "\n")
    page = licences.page(licences.checked(licences.parts([str(site(environment))])))
    (DIST / f"pushgate-{version}.licences.md").write_text(page)
    sums = "".join(f"{digest}  {name}\n" for name, digest in digests(DIST).items())
    (DIST / "SHA256SUMS").write_text(sums)


def site(environment: Path) -> Path:
    (found,) = environment.glob("lib/python*/site-packages")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
