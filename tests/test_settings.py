"""Settings that cannot be are one line each; tests/wrong_settings.py tries every value of every key."""

import random

from jssl import config as schema
from tests.wrong_settings import fault, wrong_settings

SEED = 3
TRIED = 60  # of all settings, in the suite


def test_a_wrong_setting_is_one_line_or_a_config_that_can_be_built():
    tried = set()
    settings = [(name, *each) for name in schema.shipped_names() for each in wrong_settings(name, tried)]
    assert len(settings) > 3000
    for name, key, wrong in random.Random(SEED).sample(settings, TRIED):
        assert not fault(name, key, wrong), name
