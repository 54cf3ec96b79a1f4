"""A second thread, for what happens to a job while the main thread runs it."""

import threading
from collections.abc import Callable


class Elsewhere:
    """Does something to a job while the main thread runs it."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def do(self, *steps: Callable[[], object]) -> None:
        def walk() -> None:
            try:
                for step in steps:
                    step()
            except BaseException as error:
                self._errors.append(error)

        thread = threading.Thread(target=walk)
        thread.start()
        self._threads.append(thread)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        assert not self._errors
