"""What counts as met."""

import pytest
from bench.given import measured, results

from bench.targets import TARGETS, Target

TO_OTHERS = [target for target in TARGETS if target.to]
ALONE = [target for target in TARGETS if not target.to]


@pytest.mark.parametrize("target", TO_OTHERS, ids=lambda target: target.sentence)
@pytest.mark.parametrize(("factor", "met"), [(0.99, True), (1.01, False)])
def test_a_target_is_met_up_to_its_ratio(target: Target, factor: float, *, met: bool) -> None:
    ours = measured(10.0 * target.most * factor, 20.0 * target.most * factor)
    assert target.met(results({"pandadoc-proxy": ours})) is met


@pytest.mark.parametrize("target", ALONE, ids=lambda target: target.sentence)
def test_a_target_without_a_ratio_is_a_figure_of_ours(target: Target) -> None:
    assert target.met(results({"pandadoc-proxy": measured(target.most)}))
    assert not target.met(results({"pandadoc-proxy": measured(target.most + 1)}))
