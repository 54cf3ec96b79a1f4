"""Looks at a deployment and says what is wrong and what to do: `python -m worker.doctor [--json]`.

Its settings are those of the processes, from the same environment. The exit code is 1 if something does not work.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from pydantic import ValidationError

from jobs.settings import Settings
from worker.checks import CHECKS, Finding

MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


def examine() -> Iterator[Finding]:
    """All findings, in the order in which to care for them; without settings there is nothing to look at."""
    try:
        settings = Settings()
    except ValidationError as error:
        for each in error.errors(include_input=False, include_url=False):
            name = "PRUNERY_" + "_".join(map(str, each["loc"])).upper() if each["loc"] else "settings"
            yield Finding("settings", "failed", f"{name}: {each['msg']}", "See .env.example.")
        return
    yield Finding("settings", "ok", f"they are complete ({settings.environment})")
    for check in CHECKS:
        yield from check(settings)


def main() -> None:
    parser = argparse.ArgumentParser(description="Say what is wrong with a deployment.")
    parser.add_argument("--json", action="store_true", help="print an array of findings")
    as_json = parser.parse_args().json
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            sys.stdout.write(f"{MARKS[finding.state]}  {finding.part}: {finding.says}\n")
            if finding.state != "ok":
                sys.stdout.write(f"           {finding.advice}\n")
            sys.stdout.flush()
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    sys.exit(any(finding.state == "failed" for finding in findings))


if __name__ == "__main__":
    main()
