"""A start for the chat tokens: no page of pre-training holds them, so their rows are what random numbers and weight
decay left.

Imported by XTuner's process, which loads the model through `load_for_chat`."""
import torch
from torch.nn.functional import cosine_similarity
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from internlm_course.model import load_tokenizer
from internlm_course.model.tokenizer import CHAT

UNSEEN = 0.98


@torch.no_grad()
def start_chat_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Gives the chat tokens that were never trained a start, in place: what opens begins as `<s>`, what closes as
    `</s>`.

    Tokens that no text contains are only ever pushed down, all alike: an output row that points where that of `<unk>`
    does (cosine above `UNSEEN`) was never trained. Without a start the first steps of fine-tuning go into making
    `<|im_end|>` possible at all, and shake what the model knows. Returns the tokens that were given one; all other rows
    of the two matrices [vocab, hidden] stay as they are.
    """
    embedding, output = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    unseen, started = output[tokenizer.unk_token_id].clone(), []
    for name in CHAT:
        token = tokenizer.convert_tokens_to_ids(name)
        like = tokenizer.eos_token_id if name.endswith('_end|>') else tokenizer.bos_token_id
        if cosine_similarity(output[token], unseen, dim=0) > UNSEEN:
            embedding[token], output[token] = embedding[like], output[like]
            started.append(name)
    return started


def load_for_chat(pretrained_model_name_or_path: str, **options) -> PreTrainedModel:
    """AutoModelForCausalLM.from_pretrained, then `start_chat_tokens`."""
    model = AutoModelForCausalLM.from_pretrained(pretrained_model_name_or_path, **options)
    if model.device.type != 'meta':  # `xtuner convert` builds the shape alone, and then lays the trained weights in
        start_chat_tokens(model, load_tokenizer(pretrained_model_name_or_path))
    return model
