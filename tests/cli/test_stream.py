"""Server-sent events as they are read."""

from cli.stream import Message, messages

SAID = """: cjob_1
retry: 2000

event: status
id: 7
data: {"seq": 7,
data:  "type": "running"}

: ping

event:progress
data:{"step": 3}

id: 8

data: cut off"""


def test_each_event_comes_with_its_name_its_number_and_its_data() -> None:
    life = Message("", None, "")
    assert list(messages(iter(SAID.split("\n")))) == [
        life,
        Message("status", "7", '{"seq": 7,\n "type": "running"}'),
        life,
        Message("progress", None, '{"step": 3}'),
    ]
