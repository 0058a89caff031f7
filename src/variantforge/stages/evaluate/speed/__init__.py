"""How fast a subject is on this machine, in the runtime that its users will run.

evaluator   what is measured, and how often
runs        one run as columns, and the machine it was made on
folder      a transformers folder
gguf        a GGUF file, by llama.cpp's own server
"""
