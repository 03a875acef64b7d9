"""Sample: tactics for a prompt from the PyTorch model, without a cache of keys; for looking, not for speed."""
import torch

import tokenizer


@torch.no_grad()
def sample(model, prompt_ids, count, temperature, most=48, seed=0):
    """`count` continuations as lists of ids, and their log-probabilities; temperature 0 takes the likeliest tokens."""
    device = next(model.parameters()).device
    g = torch.Generator(device=device).manual_seed(seed)
    ids = torch.tensor([prompt_ids] * count, device=device)
    total = torch.zeros(count, device=device)
    open_rows = torch.ones(count, dtype=torch.bool, device=device)
    for _ in range(most):
        logits = model(ids)[:, -1].float()
        if temperature == 0:
            chosen = logits.argmax(-1)
        else:
            chosen = torch.multinomial((logits / temperature).softmax(-1), 1, generator=g)[:, 0]
        chosen = torch.where(open_rows, chosen, torch.full_like(chosen, tokenizer.PAD))
        total += torch.where(open_rows, logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0], torch.zeros_like(total))
        ids = torch.cat((ids, chosen[:, None]), 1)
        open_rows &= chosen != tokenizer.EOS
        if not open_rows.any():
            break
    rows = ids[:, len(prompt_ids):].tolist()
    return [[i for i in row if i != tokenizer.PAD] for row in rows], total.tolist()
