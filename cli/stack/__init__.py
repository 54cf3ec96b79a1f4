"""Everything Prunery is made of, running on one machine, with its data under one folder."""

from cli.stack.servers import Servers
from cli.stack.stack import Stack

__all__ = ["Servers", "Stack"]
