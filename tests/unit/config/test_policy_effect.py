"""What two documents mean differently: defaults that are left out are none of it."""

from config import policy_text
from config.policy import default_document
from config.policy_effect import changes

SHORT = policy_text.read(
    """
pools:
  - {name: installers, market: main, rings: {unit: mi, radii: [5, 15, 30, 50]}}
default_tier: {capacity: 5}
""",
    "short.yaml",
)


def test_a_default_that_is_left_out_is_no_difference_and_others_are_told_as_they_are_written() -> None:
    said = [one.told for one in changes(SHORT, default_document())]
    assert [one[:40] for one in said if "rings_by_country" not in one and "poor_places" not in one] == [
        '+ tiers[platinum] (no. 1): {"name": "pla',
        '+ tiers[gold] (no. 2): {"name": "gold", ',
        '+ tiers[silver] (no. 3): {"name": "silve',
    ]
    written = {**SHORT, "pools": [{**SHORT["pools"][0], "answer_within": "240m", "reassignments": 3, "countries": []}]}
    assert changes(SHORT, written) == changes(written, SHORT) == []
    longer = {**SHORT, "pools": [{**SHORT["pools"][0], "answer_within": "6h", "reassignments": 3}]}
    assert [one.told for one in changes(SHORT, longer)] == ['~ pools[installers].answer_within: "4h" -> "6h"']


def test_what_is_no_policy_is_compared_as_it_is_written() -> None:
    assert [one.told for one in changes({}, {"pools": 1})] == ["+ pools: 1"]
