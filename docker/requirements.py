"""Prints what Prunery needs with the extra named, a requirement per line: python requirements.py EXTRA < pyproject.toml

An image installs these before it copies the code, so that a change of the code leaves that layer as it is.
"""

import sys
import tomllib


def main() -> None:
    (extra,) = sys.argv[1:]
    project = tomllib.load(sys.stdin.buffer)["project"]
    sys.stdout.writelines(f"{line}\n" for line in (*project["dependencies"], *project["optional-dependencies"][extra]))


if __name__ == "__main__":
    main()
