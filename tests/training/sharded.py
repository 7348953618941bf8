"""Five steps of a GPT, whole or sharded by FSDP, for torchrun to start; process 0 prints them.

Usage: python tests/training/sharded.py
"""

import json

import torch
import torch.nn.functional as F
from made import TINY
from torch import distributed
from torch.distributed.fsdp import fully_shard

from lmcore.model.gpt import GPT

BATCH = 4


def losses(shards):
    """Return the losses of five steps, and how many weights this process holds."""
    rank, world = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(0)
    model = GPT(TINY)
    if shards:
        for block in model.blocks:
            fully_shard(block)
        fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rows, found = torch.Generator().manual_seed(1), []
    for _ in range(5):
        shape = (BATCH, TINY.context_length + 1)
        ids = torch.randint(TINY.vocab_size, shape, generator=rows)
        if shards:
            ids = ids[rank::world]
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.detach().clone()
        if shards:
            distributed.all_reduce(mean)
            mean /= world
        found.append(mean.item())
    local = [p.to_local() if shards else p for p in model.parameters()]
    return found, sum(p.numel() for p in local)


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    whole, sharded = losses(shards=False), losses(shards=True)
    if distributed.get_rank() == 0:
        print(json.dumps({"whole": whole, "sharded": sharded}))
    distributed.destroy_process_group()
