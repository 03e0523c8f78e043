"""Reserves and releases in a ledger in PostgreSQL as one node; `nodes.py` runs it as a process.

    python bench/reservations.py URL NAME USERS AT_ONCE COUNT

It begins once a line comes on its standard input. Prints when it began and ended, by a clock that
all processes share, and the seconds of each reservation, in JSON.
"""

import json
import sys
import time
from contextlib import closing
from functools import partial

import trio

from galileod.ledger.node import Me
from galileod.ledger.postgresql import Address, PostgresqlLedger
from galileod.policy.quota import check_quota
from galileod.policy.settings import Quota
from galileod.units import Size

QUOTA = Quota(total_bytes=Size(1 << 50), user_bytes=Size(1 << 50))
SIZE = 10_000


async def work(ledger: PostgresqlLedger, name: str, users: int, at_once: int, count: int) -> None:
    """Make `count` reservations, `at_once` at the same time, in turn for each of the users."""
    allow = partial(check_quota, QUOTA, SIZE)
    taken, numbers = list[float](), iter(range(count))

    async def reserve() -> None:
        for number in numbers:
            upload, began = f"{name}-{number}", time.perf_counter()
            await ledger.reserve(upload, f"user{number % users}", SIZE, allow)
            taken.append(time.perf_counter() - began)
            await ledger.release(upload)

    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(reserve)
    print(json.dumps([start, time.perf_counter(), taken]))


def main() -> None:
    url, name, *numbers = sys.argv[1:]
    users, at_once, count = map(int, numbers)
    me = Me(name, name.rjust(32, "0"), "bench", local=False)
    with closing(PostgresqlLedger.open(Address(url), me=me)) as ledger:
        print("ready", flush=True)
        sys.stdin.readline()
        trio.run(work, ledger, name, users, at_once, count)


if __name__ == "__main__":
    main()
