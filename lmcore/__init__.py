"""Small language models from scratch: tokenizer, model, optimizer, training, generation.

A name imports its module when it is first used, so that tokenizers load without torch. What is
public, and where it is defined, is listed in `__init__.pyi`, which type checkers read too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
