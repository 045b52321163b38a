import io

import pytest

from climb_engine.console import reporting, seconds_text
from climb_engine.types import Event


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.42, "8.4 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (3600, "1 h 00 min")]
)
def test_durations_are_said_as_a_person_would(seconds, text):
    assert seconds_text(seconds) == text


def lines_of(*events):
    stream = io.StringIO()
    with reporting(stream) as report:
        for event in events:
            report(event)
    return stream.getvalue().splitlines()


def test_where_there_is_no_terminal_lines_are_plain_and_few():
    events = [Event("embedding", done, 1000, "documents", {"rejected": 2}) for done in range(1000)]
    lines = lines_of(*events, Event("embedding", 1, 1, "stage", {"seconds": 12.0}))
    assert lines == ["embedding: 0/1,000 documents (rejected 2)", "embedding: done in 12.0 s"]


def test_text_in_brackets_is_not_taken_for_markup():
    assert lines_of(Event("x", 1, None, "documents", {"note": "[bold]"})) == ["x: 1 documents (note [bold])"]
