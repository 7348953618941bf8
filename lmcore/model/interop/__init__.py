"""Models to and from folders of Hugging Face's transformers: GPT-2 and Llama checkpoints.

Only files are read and written, config.json and safetensors; transformers is not needed.
"""

from lmcore.model.interop.checkpoint import load_pretrained, save_pretrained

__all__ = ["load_pretrained", "save_pretrained"]
