"""Which architectures the fast loop leaves alone, from their configuration."""

from types import SimpleNamespace

import pytest

from reasoner.errors import ReasonerError
from reasoner.training import packed

FULL, SLIDING = "full_attention", "sliding_attention"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, None),
        ({"layer_types": None, "sliding_window": None}, None),
        ({"layer_types": [FULL, FULL]}, None),
        ({"layer_types": [SLIDING, FULL], "sliding_window": 100}, None),
        ({"layer_types": [SLIDING, FULL], "sliding_window": 99}, "sees 99 tokens back"),
        ({"layer_types": [FULL], "sliding_window": 8}, None),
        ({"sliding_window": 8}, "sees 8 tokens back"),
        ({"layer_types": ["conv", FULL]}, "layers of the kind conv"),
        ({"layer_types": ["linear_attention", FULL]}, "layers of the kind linear_attention"),
    ],
)
def test_layers_in_which_completions_would_meet(config, why):
    if why is None:
        packed.refuse_layers(SimpleNamespace(**config), 100)
        return
    with pytest.raises(ReasonerError, match="does not fit this architecture") as caught:
        packed.refuse_layers(SimpleNamespace(**config), 100)
    assert why in caught.value.why
