"""The process from within; tests/integration/test_process.py looks at it from outside."""

import asyncio
import gc
import signal
import subprocess
import sys

from pushgate.server import run

STUCK = """
import sys
from pushgate.server import run
from pushgate.server.settings import Settings

async def never_yield(self):
    print("stuck", flush=True)
    while True:
        pass

run._LAST_RESORT_SECONDS = 0.1
run._Process._do_chores = never_yield
address = ("127.0.0.1:0",)
settings = Settings(persistence_file="", web_listen_address=address, web_shutdown_timeout=1)
sys.exit(run.serve(settings))
"""


def status_after_sigterm(program: str, said: str) -> int:
    """The exit status of *program*, which gets SIGTERM once it has *said* how far it is."""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout.readline() == f"{said}\n".encode()
        process.send_signal(signal.SIGTERM)
        return process.wait(30)


def test_a_signal_ends_a_process_whose_event_loop_is_stuck():
    assert status_after_sigterm(STUCK, "stuck") == 1


SETTLING = """
import asyncio
import sys
from pushgate.server import run
from pushgate.server.settings import Settings
from pushgate.server.store.expiry import Expiry

async def take_long(self):
    print("settling", flush=True)
    await asyncio.sleep(60)

Expiry.settle_all = take_long
settings = Settings(persistence_file="", web_listen_address=("127.0.0.1:0",))
sys.exit(run.serve(settings))
"""


def test_a_stop_does_not_wait_for_all_that_became_due_while_the_server_was_down():
    assert status_after_sigterm(SETTLING, "settling") == 0


BROKEN = """
import sys
from pushgate.server import run
from pushgate.server.settings import Settings

async def break_the_store(self):
    self._context.gateway._break([], KeyError("no such group"))

run._Process._do_chores = break_the_store
settings = Settings(persistence_file="", web_listen_address=("127.0.0.1:0",))
sys.exit(run.serve(settings))
"""


def test_a_server_whose_store_is_broken_ends_and_says_so():
    ended = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, timeout=20, check=False
    )
    assert ended.returncode == 1
    *_, last = ended.stderr.decode().splitlines()
    assert last == (
        "pushgate: the server stopped because what is in memory is not known to be what is "
        "stored: KeyError('no such group'); the server has to start anew"
    )


def test_objects_that_replace_others_do_not_stay_young():
    async def replacing() -> list[list]:
        task = asyncio.create_task(run.collect_young())
        await asyncio.sleep(0)
        kept = [[] for _ in range(100)]
        await asyncio.sleep(3 * run._YOUNG_SECONDS)
        task.cancel()
        return kept

    gc.collect()
    kept = asyncio.run(replacing())
    young = {id(one) for age in (0, 1) for one in gc.get_objects(generation=age)}
    assert young.isdisjoint(map(id, kept))
