"""`python -m cli`: the `prunery` command."""

from cli.main import main

main(prog_name="prunery")
