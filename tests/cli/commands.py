"""How the tests run the command line, in this process or in one of its own."""

import subprocess
import sys

from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from pushgate.cli.commands import pushgate as command_line
from tests.services import PUSHGATE


def pushgate(*arguments, stdin=None):
    return CliRunner().invoke(command_line, [str(argument) for argument in arguments], input=stdin)


def process(*arguments, timeout=30, **options):
    return subprocess.run(
        [PUSHGATE, *arguments], capture_output=True, text=True, timeout=timeout, check=False,
        **options,
    )  # fmt: skip


def families(request):
    """Return the families in the body of *request*, by name."""
    return {family.name: family for family in text_string_to_metric_families(request.body.decode())}


def values(request):
    """Return the unlabeled samples in the body of *request*."""
    return {
        sample.name: sample.value
        for family in families(request).values()
        for sample in family.samples
        if not sample.labels
    }


def command(*arguments):
    return [PUSHGATE, "run", *map(str, arguments)]


def run(*arguments, **options):
    return process("run", *map(str, arguments), **options)


def started(*arguments, **options):
    return subprocess.Popen(command(*arguments), text=True, stdout=subprocess.PIPE, **options)


def python(code):
    return ["--", sys.executable, "-c", code]


def shell(script):
    return ["--", "sh", "-c", script]
