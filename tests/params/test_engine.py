"""The section `engine`: what a server cannot do is refused while composing, and its lists follow from other keys."""

import pytest

from stages import params
from stages.errors import DataError
from stages.params import compose

OPENAI = ("engine=openai", "engine.models.base=m", "predict.constrain=none")


def test_engine_decides_which_stages_answer():
    here = params.check(compose.composed("seeds=[1,2]")).engine
    assert (here.here.seeds, here.here.shots, here.served.seeds) == ([1, 2], [0, 3], [])
    there = params.check(compose.composed(*OPENAI, "seeds=[1,2]")).engine
    assert (there.here.seeds, there.served.seeds, there.served.shots) == ([], [1, 2], [0, 3])


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("predict.constrain=json",), r"predict\.constrain = json with engine\.kind = openai"),
        (("predict.kept=[mine]",), r"predict\.kept with engine\.kind = openai"),
        (("align=kto", "preference.sources=[verifier]"), r"align\.method = kto with engine\.kind = openai"),
        (("engine.models.tuned=x", "seeds=[1,2]"), r"engine\.models\.tuned = x: all seeds would be one model"),
        (("engine.models.tuned=m",), r"engine\.models\.base = m: the tuned model has the same name"),
        (("experiment=medqa", "engine.models.base=m"), r"the rows have choices"),
        (("engine.server.omit=[temperature]",), r"engine\.server\.omit: without temperature a server draws"),
        (("engine.here.seeds=[7]",), r"engine\.here\.seeds = \[7\], but seeds = \[42\] and engine\.kind = openai give \[\]"),
        (("engine.server.base_url=http://me:secret@host/v1",), r"engine\.server\.base_url: must be scheme, host, port"),
    ],
)
def test_what_a_server_cannot_do_is_refused(overrides, line):
    with pytest.raises(DataError, match=line):
        compose.composed(*OPENAI, *overrides)
