"""format refuses to align a model that cannot be aligned, before anything is trained."""

from types import SimpleNamespace
from typing import Any

import pytest

from stages import params
from stages.errors import DataError
from stages.format.__main__ import require_decoder
from stages.params import compose


def test_encoder_decoder_is_refused_before_training() -> None:
    t5: Any = SimpleNamespace(encoder_decoder=True)
    decoder: Any = SimpleNamespace(encoder_decoder=False)
    aligned = params.check(compose.composed("experiment=smoke", "align=grpo")).align
    with pytest.raises(DataError, match=r"align.method = grpo with an encoder-decoder model: .* use align=none"):
        require_decoder(t5, aligned)
    require_decoder(decoder, aligned)
    require_decoder(t5, params.check(compose.composed("experiment=smoke")).align)
