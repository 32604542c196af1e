import pytest

from jssl.evaluation.classifier import TOP1
from jssl.report.tables import SUPERVISED_BASELINE, hurt


@pytest.mark.parametrize(
    ("values", "hurts"),
    [
        ({TOP1: 0.7, SUPERVISED_BASELINE: 0.8}, True),
        ({TOP1: 0.8, SUPERVISED_BASELINE: 0.8}, False),
        ({TOP1: 0.9, SUPERVISED_BASELINE: 0.8}, False),
        ({TOP1: 0.0}, False),
        ({SUPERVISED_BASELINE: 0.8}, False),
        ({}, False),
    ],
)
def test_data_that_hurt_are_told(values, hurts):
    line = hurt(values)
    assert bool(line) == hurts
    assert not hurts or ("70.0 % with" in line and "80.0 %" in line)
