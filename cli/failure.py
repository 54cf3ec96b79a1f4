"""How an expected error is told to the user: what, where, what to do, and the exit code."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from cli.client import ClientError, Refused, Unreachable
from cli.connection import NoConnection
from cli.demo.failures import DemoFailed
from cli.exits import Exit
from cli.resources import Problem
from cli.transfer import TransferFailed
from jobs.errors import FieldError, PruneryError, RequestRefused

ALIVE = "Is `prunery up` running?"


@dataclass(frozen=True)
class Failure:
    """What a command says on its way out."""

    lines: Sequence[str]
    code: Exit

    def show(self) -> None:
        click.echo(click.style("error: ", fg="red", bold=True) + self.lines[0], err=True)
        for line in self.lines[1:]:
            click.echo(line, err=True)


def describe(error: Exception) -> Failure | None:
    """The failure that an expected error means; None for our own bugs."""
    match error:
        case Refused():
            return Failure(_problem_lines(error.problem), _refusal_code(error.problem))
        case Unreachable():
            return Failure([f"{error} {ALIVE}"], Exit.FAILURE)
        case NoConnection():
            return Failure([str(error)], Exit.REFUSED)
        case PruneryError():
            code = Exit.REFUSED if isinstance(error, RequestRefused) else Exit.FAILURE
            return Failure([f"{error.detail} ({error.code})", *_field_lines(error.errors), *_hint(error.hint)], code)
        case ClientError() | TransferFailed() | DemoFailed():
            return Failure(str(error).splitlines(), Exit.FAILURE)
        case OSError() if not isinstance(error, BrokenPipeError):
            where = f" ({error.filename})" if error.filename else ""
            return Failure([f"{error.strerror or error}{where}"], Exit.FAILURE)
        case _:
            return None


def _refusal_code(problem: Problem) -> Exit:
    return Exit.REFUSED if 400 <= problem.status < 500 else Exit.FAILURE


def _problem_lines(problem: Problem) -> list[str]:
    lines = [f"{problem.detail or problem.title} ({problem.code})", *_field_lines(problem.errors), *_hint(problem.hint)]
    if problem.status >= 500 and problem.request_id:
        lines.append(f"  request {problem.request_id}")
    return lines


def _field_lines(errors: Sequence[FieldError]) -> list[str]:
    width = max((len(field.pointer) for field in errors), default=0)
    lines = []
    for field in errors:
        suggestion = "" if field.suggestion is None else f" (suggestion: {field.suggestion})"
        lines.append(f"  {field.pointer or '/':<{width}}  {field.detail}{suggestion}")
    return lines


def _hint(hint: str | None) -> list[str]:
    return [f"  hint: {hint}"] if hint else []
