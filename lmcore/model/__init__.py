"""A decoder-only transformer. Every block works alone, from plain numbers.

A name imports its module when it is first used, so that what a model costs is known without torch.
Public names and where they are defined are listed in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
