"""`scr queue` and `scr usage`."""


def test_queues_are_listed(scr, add):
    scr("init")
    assert scr("queue").out == "nothing to do\n"
    add()
    assert "has no source" in scr("queue").out
    assert scr("--json", "queue", "unsourced").json[0]["queue"] == "unsourced"
    assert scr("queue", "waiting").out == "nothing to do\n"
    assert "waiting" in scr("queue", "nonsense").err


def test_what_was_never_used_is_listed(scr, add):
    fact_id = add()["fact"]["id"]
    assert scr("usage").out == "no fact was used yet\n"
    assert fact_id in scr("usage", "--never").out
    assert scr("--json", "usage", "--never").json == [{"fact_id": fact_id}]
