"""Why the demo could not go on."""


class DemoFailed(Exception):
    """The model cannot be had, the job failed, or its result does not load; one line or several say why."""
