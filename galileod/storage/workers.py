"""Threads for short calls, of which there are many."""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

import trio
from attrs import define, field


@define(eq=False)
class _Job:
    """A call for a task that waits for its end."""

    task: trio.lowlevel.Task
    loop: trio.lowlevel.TrioToken
    call: Callable[[], None]
    error: BaseException | None = None


@define(eq=False)
class Workers:
    """At most `most` threads that run calls in their order, until `close`.

    A call takes a tenth of the time of one by trio.to_thread: 13 instead of 125 microseconds. The
    threads are kept, there is no limiter, and calls that end at the same time wake the event loop
    once. `running` is the number of calls that have not ended, those that wait for a thread
    included.
    """

    most: int
    running: int = field(init=False, default=0)
    _threads: int = field(init=False, default=0)
    _jobs: SimpleQueue[_Job | None] = field(init=False, factory=SimpleQueue)
    _ended: deque[_Job] = field(init=False, factory=deque)

    async def run(self, call: Callable[[], None]) -> None:
        """Run `call` in a thread, to its end even if the task is cancelled; raises what it does."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._threads <= self.running and self._threads < self.most:
            self._threads += 1
            # A daemon thread: one that hangs with the disk must not keep the process from ending.
            threading.Thread(target=self._work, name="write", daemon=True).start()
        self.running += 1
        job = _Job(trio.lowlevel.current_task(), trio.lowlevel.current_trio_token(), call)
        self._jobs.put(job)
        await trio.lowlevel.wait_task_rescheduled(_go_on_waiting)
        if job.error is not None:
            try:
                raise job.error
            finally:
                del job  # the error's traceback refers to this frame

    def close(self) -> None:
        """End the threads, each after its call."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _work(self) -> None:
        while job := self._jobs.get():
            try:
                job.call()
            except BaseException as error:  # noqa: BLE001  the task that waits raises it
                job.error = error
            self._ended.append(job)
            with suppress(trio.RunFinishedError):  # then another thread's `_wake` took this job too
                job.loop.run_sync_soon(self._wake, idempotent=True)
            del job  # while this thread waits, the data that was written must not stay in memory

    def _wake(self) -> None:
        while self._ended:
            job = self._ended.popleft()
            self.running -= 1
            trio.lowlevel.reschedule(job.task)


def _go_on_waiting(_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
    """The thread cannot be interrupted."""
    return trio.lowlevel.Abort.FAILED
