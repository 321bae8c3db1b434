"""Where the time of a push goes: the steps of the profile."""

from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pushgate
from benchmarks.where import STEPS


def functions(code: CodeType) -> Iterator[str]:
    """Yield the names of all functions in *code*, as a profiler shows them."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname
            yield from functions(constant)


def test_every_step_of_the_profile_is_a_function_of_the_server():
    sources = Path(pushgate.__file__).parent.rglob("*.py")
    compiled = (compile(source.read_text(), source, "exec") for source in sources)
    known = {name for code in compiled for name in functions(code)}
    assert STEPS.keys() <= known
