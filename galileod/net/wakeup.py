"""Wakes one waiting task; cheaper than a channel or an Event, which serve any number of tasks."""

import trio


class Wakeup:
    """One task waits at a time, and looks for itself what has happened once it is woken."""

    def __init__(self) -> None:
        self._waiting: trio.lowlevel.Task | None = None

    def wake(self) -> None:
        """Wake the task that waits, if there is one."""
        if self._waiting is not None:
            task, self._waiting = self._waiting, None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        self._waiting = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._waiting = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
