"""Why the demo could not go on."""

from jobs.errors import PruneryError


class DemoFailed(PruneryError):
    """The model cannot be had, the job failed, or its result does not load."""

    code = "demo_failed"
    title = "The demo failed"
