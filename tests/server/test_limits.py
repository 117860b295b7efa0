import pytest

from scr.errors import TooManyRequests
from scr.server.limits import Rate


def test_a_rate_is_kept_for_each_caller_and_refills():
    now = [0.0]
    rate = Rate(60, clock=lambda: now[0])
    for _ in range(60):
        rate.take("a")
    with pytest.raises(TooManyRequests, match="60 requests a minute"):
        rate.take("a")
    rate.take("b")
    now[0] = 1.0
    rate.take("a")
    with pytest.raises(TooManyRequests):
        rate.take("a")
    now[0] = 1_000.0
    for _ in range(60):
        rate.take("a")
