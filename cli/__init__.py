"""The `prunery` command: a typed client of the API, and the stack that serves it on one machine."""
