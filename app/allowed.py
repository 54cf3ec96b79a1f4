"""Which methods an address takes: those of all the routes that meet there."""

from fastapi import FastAPI
from starlette.routing import compile_path


def methods(app: FastAPI, path: str) -> list[str]:
    """As the document says; empty for an address that it does not know."""
    found = {
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        if compile_path(template)[0].match(path)
        for method in operations
    }
    return sorted(found)
