"""The typed schema of params.yaml.

conf/ holds every value, and Hydra composes it into params.yaml. This package defines which keys exist, what values they
allow and which combinations are refused. It has no defaults: a key missing in conf/ is an error. The same check runs while
Hydra composes (hydra_plugins/validated.py), in the validate stage and whenever a stage reads its sections.
"""

from stages.params.after import (
    Align,
    Alignment,
    Answering,
    DocumentPretraining,
    Dpo,
    Grpo,
    Judging,
    Kto,
    Preference,
    Pretrain,
    RewardModel,
    Rewards,
)
from stages.params.engine import Engine, OpenAIEngine, Served
from stages.params.feedback import Feedback, FeedbackColumns
from stages.params.models import HubModel, Model, PathModel, RandomModel, WheelModel
from stages.params.reading import NEVER, PARAMS, RESTORE, check, check_file, flatten, lacks, load, parse, read, runtime, server
from stages.params.results import Retention, Runtime, divisor
from stages.params.rows import SLOT, Columns, HubRows, MixData, PublishedSplits, RowsData, Wording
from stages.params.sources import (
    Accents,
    ComplaintsData,
    Data,
    DocumentsData,
    FolderDocuments,
    GraphData,
    HpoFacts,
    Items,
    Splits,
    WheelDocuments,
)
from stages.params.synthesis import (
    Budget,
    ComplaintInstruct,
    Connection,
    GeneralInstruct,
    InstanceFilter,
    LimitField,
    LocalTeacher,
    OpenAITeacher,
    OptionalField,
    Passage,
    Price,
    ReplayTeacher,
    Sampling,
    SelfInstruct,
    SelfKG,
    SelfQa,
    Shares,
    Teacher,
)
from stages.params.training import NOTHING, WHOLE, Adapter, Fit, Format, Lora, Optimization, Quantization, Train
from stages.params.whole import Params
