"""Constrained decoding: whatever the model prefers, an answer that ends is a JSON object with the task's fields."""

import json

import pytest

from stages.generation import constraint
from stages.models.loading import LanguageModel

pytestmark = pytest.mark.model

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]},
        "tags": {"type": ["array", "null"]},
        "paid": {"type": ["boolean", "number", "null"]},
    },
    "required": ["name", "tags", "paid"],
    "additionalProperties": False,
}


@pytest.fixture
def choose(tuned_fp32, tokenizer):
    return constraint.json_only(LanguageModel(tuned_fp32, tokenizer), SCHEMA)


def decode(choose, tokenizer, logits_of, rows, steps=400):
    """Return the text of each row: the tokens chosen up to the end token."""
    import torch

    written = torch.zeros(rows, 0, dtype=torch.long)
    for step in range(steps):
        tokens = choose(logits_of(step), written, torch.arange(rows))
        written = torch.cat([written, tokens[:, None]], dim=1)
    return [tokenizer.decode(row[: row.index(choose.stop)] if choose.stop in row else row) for row in written.tolist()]


def test_random_logits_give_objects_with_the_fields(choose, tuned_fp32, tokenizer):
    import torch

    width = tuned_fp32.get_output_embeddings().weight.shape[0]
    draw, closing = torch.Generator().manual_seed(0), tokenizer.encode('"]}')
    bias = torch.zeros(width).index_fill(0, torch.tensor(closing), 4.0)
    for _ in range(2):  # the matchers of one batch do not outlive it
        texts = decode(choose, tokenizer, lambda _: torch.randn(8, width, generator=draw) + bias, rows=8)
        found = [json.loads(text) for text in texts]
        assert all(list(each) == ["name", "tags", "paid"] for each in found)
        assert {type(each["name"]) for each in found} <= {str, type(None)}


@pytest.mark.parametrize(
    "text", ['{"name": "Änn \\n\\"x\\"", "tags": [], "paid": null}', '{\n  "name": null,\n  "tags": ["y"],\n  "paid": 2\n}']
)
def test_text_that_fits_stays_the_same(choose, tuned_fp32, tokenizer, text):
    import torch

    width, ids = tuned_fp32.get_output_embeddings().weight.shape[0], [*tokenizer.encode(text), choose.stop]
    one_hot = torch.nn.functional.one_hot(torch.tensor(ids), width).float()
    assert decode(choose, tokenizer, lambda step: one_hot[[step, step]], rows=2, steps=len(ids)) == [text, text]


def test_rows_that_left_the_batch_keep_their_grammar(choose, tuned_fp32, tokenizer):
    import torch

    width, ids = tuned_fp32.get_output_embeddings().weight.shape[0], tokenizer.encode('{"name"')
    flat = torch.zeros(1, width)
    choose(flat.expand(3, -1), torch.zeros(3, 0, dtype=torch.long), torch.arange(3))
    for end in range(1, len(ids)):
        token = choose(flat.index_fill(1, torch.tensor(ids[end]), 1.0), torch.tensor([ids[:end]]), torch.tensor([2]))
        assert token.tolist() == [ids[end]]
