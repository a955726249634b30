"""Deployment: LMDeploy quantises a checkpoint, and serves one behind OpenAI's protocol, on a CPU as well.

What is patched into LMDeploy, in the processes that serve and quantise. Tested with 0.15.0 (see launch.TESTED).

| in | target | reason |
|---|---|---|
| api | api_server.FastAPI | the middleware CheckedRequests stands before every handler |
| api | api_server.check_request | an empty or over-long prompt is status 200 and finish_reason "error" |
| api | api_server.validation_exception_handler | status 422 and a list, which fails where it holds what JSON cannot |
| api | api_server.resolve_default_gen_config | special tokens, of which tool calls are made, are left out of the text |
| api | adapter.build_generation_config | Anthropic's; gives that default a second time, which is a TypeError |
| api | response.ResponseInputTokensDetails | lacks a field that openai 3.54 asks for: /v1/responses always fails |
| api | AsyncEngine.generate | stop strings must be one token, token-id prompts fail, a failure is an answer's text |
| api | BaseResponseParser.__init__ | takes tool calls out of the text also for a client that sent no `tools` |
| isolate | Engine._on_add_message | what fits no tensor raises in the loop that takes requests in |
| isolate | agent.BaseModelAgent._async_model_forward | a token id outside the vocabulary raises; the step's rows fail |
| isolate | agent.FusedLogitsProcessor | a schema, bias or penalty raises while tokens are chosen: rows apart |
| isolate | EngineInstance.async_stream_infer | is to tell a failed row's client, which also ends its sequence |
| cpu.config | messages.PytorchEngineConfig.__post_init__ | asserts a GPU's device type |
| cpu.config | messages.PytorchEngineConfig.enable_mp_engine | a second process has a second gigabyte, no CPU device |
| cpu.config | model_config.is_bf16_supported | no, for an unknown device: bf16 would be served as fp16, slowly |
| cpu.config | engine_checker.EngineChecker.handle | looks for CUDA and triton |
| cpu.linear | QKVAwqLinear.weight_spliter_s | cuts rows of two dimensions; the bias of wqkv has one |
| cpu.backend | selector._get_backend | knows a closed list of devices |
| cpu.torch_cuda | torch.cuda | the engine asks for streams and events on every device (every name in `stand_ins`) |
| cpu.torch_cuda | torch | the engine makes tensors on 'cuda' on every device (every function in FACTORIES) |
| cpu.torch_cuda | torch.Tensor.cuda | a tensor moves to no GPU |
| cpu.torch_cuda | torch.Tensor.to | 'cuda' means the CPU |
| cpu.torch_cuda | torch.nn.Module.to | 'cuda' means the CPU |
| cpu.torch_cuda | torch.Tensor.record_stream | there is one stream |
| cpu.torch_cuda | torch.Tensor.pin_memory | all memory is plain |
| quantize | calibrate.get_calib_loaders | its calibration sets are downloads |
| quantize | calibrate.load_hf_from_pretrained | loads fp16 or bf16 only; an ordinary CPU calibrates in float32 |
| quantize | PreTrainedModel.save_pretrained | what is in float32 is written as fp16, as the kernels read it |
"""
