"""A partner's server that hangs is that partner's trouble; tests/proofs/deliveries.py measures the p99 beside it."""

from tests.fakes.receiver import Receiver, hangs
from tests.integration.delivery.post import Post


def test_one_hanging_endpoint_holds_up_nobody_else(post: Post) -> None:
    """All others have everything while the calls that hang are still under way."""
    with Receiver(hangs) as stuck, Receiver() as well:
        members = [post.house.member(f"m{n}", capacity=20) for n in range(5)]
        for n, member in enumerate(members):
            post.hook(member, stuck.url() if n == 0 else well.url(f"/{n}"))
        for n in range(20):
            post.offer(f"00Q{n}")
        wanted = post.house.value("SELECT count(*) FROM notices WHERE member_id <> :stuck", stuck=members[0])
        post.courier.work()
        well.wait_for(wanted)
        assert len(stuck.calls) == 2
        assert not post.courier.rest(0)  # both are still waited for
    assert wanted >= 10


def test_who_frees_a_place_takes_the_next_without_being_told(post: Post) -> None:
    with Receiver() as receiver:
        member = post.house.member("near", capacity=20)
        post.hook(member, receiver.url())
        for n in range(10):
            post.offer(f"00Q{n}")
        post.courier.work()  # two at a time, and no further word
        assert len(receiver.wait_for(10)) == 10
        assert post.courier.rest(20)
    assert post.ends.count(("webhook", "sent")) == 10
