"""Lagent over LMDeploy's server: messages are rendered as `chat.render` does, and the special tokens of a call come
back whole."""
import json
import urllib.request

import pytest

from internlm_course.agents import solve
from internlm_course.deploy.serve import serve
from internlm_course.finetune.config import SFTSettings
from internlm_course.finetune.train import sft
from internlm_course.model import InternLM2Config, chat, load_tokenizer, save_checkpoint, train_tokenizer

QUESTION, CALL, RESULT = 'What is 123*456?', '123*456', '56088'


@pytest.fixture(scope='module')
def taught(tmp_path_factory):
    """A small random model that has learned one tool use by heart, through XTuner."""
    import torch

    from internlm_course.model import InternLM2ForCausalLM

    folder = tmp_path_factory.mktemp('agent')
    messages = chat.agent_messages(QUESTION, CALL, RESULT, RESULT)
    (folder / 'sft.jsonl').write_text(''.join(json.dumps(dict(messages=messages)) + '\n' for _ in range(64)), 'utf-8')
    tokenizer = train_tokenizer([message['content'] for message in messages] * 9, 340, folder / 'checkpoint')
    torch.manual_seed(0)
    config = InternLM2Config(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                             num_attention_heads=4,
                             num_key_value_heads=2, max_position_embeddings=512, rope_theta=10000)
    save_checkpoint(InternLM2ForCausalLM(config), tokenizer, folder / 'checkpoint')
    # Packed sequences hold exactly one conversation, so that the model learns it at the positions where it will be
    # asked.
    length = len(tokenizer.encode(chat.render(messages)))
    settings = SFTSettings(method='full', learning_rate=5e-3, max_iters=120, batch_size=4, max_length=length)
    sft(folder / 'checkpoint', folder / 'sft.jsonl', folder / 'chat', settings, folder / 'home')
    return folder


def test_a_tool_use_learned_by_heart_runs_through_the_whole_stack(taught):
    with serve(taught / 'chat', model_name='internlm2-tiny', home=taught / 'home', log=taught / 'serve.log') as server:
        [answer] = solve(server.url, server.model, [QUESTION])
        assert (answer.calls, answer.text) == ((CALL,), RESULT)
        # The prompt's token count tells that the server renders as the training data were rendered, with one <s>.
        tokenizer = load_tokenizer(taught / 'chat')
        messages = chat.agent_messages(QUESTION, CALL, RESULT, RESULT)
        # Where LMDeploy stops, it leaves the stop token out
        called = chat.call('calculator', dict(expression=CALL)).removesuffix('<|action_end|>')
        for end in (2, 4):
            prompt = tokenizer.encode(chat.render(messages[:end], add_generation_prompt=True))
            reply = post(server.url, dict(model=server.model, messages=messages[:end], max_tokens=64, temperature=0,
                                          skip_special_tokens=False, spaces_between_special_tokens=False))
            assert reply['usage']['prompt_tokens'] == len(prompt)
            assert reply['choices'][0]['message']['content'].strip() == (called, None, RESULT)[end - 2]


def post(url, body):
    request = urllib.request.Request(f'{url}/chat/completions', json.dumps(body).encode(),
                                     {'content-type': 'application/json'})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)
