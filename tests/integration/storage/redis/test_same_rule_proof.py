"""A short form of `make proofs PROOFS=same_rule`."""

from tests.proofs.same_rule import prove


def test_N1_the_lua_and_the_python_rule_agree_and_another_process_makes_every_decision_again(redis_url: str) -> None:
    made = prove(1_500, redis_url, seed=2)
    assert made.holds
    assert made.decisions >= 1_500
    assert min(made.nobody, made.released, made.cancelled, made.corrected, made.stopped) > 0
