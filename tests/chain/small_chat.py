"""A small random checkpoint whose tokenizer knows sums, for XTuner to train."""
import hashlib
import json


def write_checkpoint(folder, texts):
    """A checkpoint of 0.1 M weights in `folder`."""
    import torch

    from internlm_course.model import InternLM2Config, InternLM2ForCausalLM, save_checkpoint, train_tokenizer
    tokenizer = train_tokenizer(texts, 300, folder)
    torch.manual_seed(0)
    config = InternLM2Config(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                             rope_theta=10000)
    save_checkpoint(InternLM2ForCausalLM(config), tokenizer, folder)


def write_rows(path, rows):
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows), 'utf-8')


def digest(folder):
    return hashlib.sha256((folder / 'model.safetensors').read_bytes()).hexdigest()
