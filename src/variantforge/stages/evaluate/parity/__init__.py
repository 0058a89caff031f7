"""Parity: does a file say what it was made from, in the runtime that its users will run? One module per check.

evaluator       ``Parity``: which checks a subject gets, in which order; how findings become metrics
llama           a GGUF file in llama.cpp: text to tokens, chats to text, which tokens end an answer
strings         5,000 texts that tokenizers are known to cut differently
tokenizer       equal token ids
conversations   24 chats
template        equal prompts, as text and as tokens, with one BOS
added_tokens    each added token: one id, of the right type
turns           turns end with a stop token; nothing is opened that was not asked for
weights         every block of a GGUF tensor lies as near to the merged weights as its type rounds
divergence      KL, flips, perplexity beside the merged model
configs         quantization_config: none in merged weights, the right one in quantized ones
reload          a fresh process that imports transformers alone loads the folder and says the same
stops           how many answers end by themselves
"""
