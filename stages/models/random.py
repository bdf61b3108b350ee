"""A tiny Llama or T5 with random weights, for tests and for the smoke experiment."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from stages.models.templates import CHATML, PLAIN
from stages.params import RandomModel


def make(model: RandomModel, folder: Path) -> None:
    """Store seeded random weights and a byte-level tokenizer that pads with its end token, as SmolLM2 does."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: i for i, token in enumerate(specials + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=specials[2], pad_token=specials[2], additional_special_tokens=specials
    )
    fast.chat_template = CHATML if model.architecture == "llama" else PLAIN
    fast.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _weights(model, len(vocabulary)).to(torch.bfloat16).save_pretrained(folder)


def _weights(model: RandomModel, vocabulary: int) -> PreTrainedModel:
    tokens = {"vocab_size": vocabulary, "eos_token_id": 2, "pad_token_id": 2, "tie_word_embeddings": True}
    if model.architecture == "t5":
        shape = {"d_model": model.hidden_size, "d_kv": model.hidden_size // 2, "d_ff": 2 * model.hidden_size, "num_heads": 2}
        return T5ForConditionalGeneration(T5Config(**tokens, **shape, num_layers=model.layers, decoder_start_token_id=0))
    config = LlamaConfig(
        **tokens,
        hidden_size=model.hidden_size,
        intermediate_size=2 * model.hidden_size,
        num_hidden_layers=model.layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)
