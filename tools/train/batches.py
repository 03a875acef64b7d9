"""Batches: examples of like length together, padded at the end, made on the device from one long row of ids."""
import gzip
import json
import os

import numpy as np
import torch


class Examples:
    """One prepared set on the device. Nothing is copied again while training."""

    def __init__(self, folder, name, device):
        with gzip.open(os.path.join(folder, name + ".bin.gz")) as file:
            ids = np.frombuffer(file.read(), dtype=np.uint16).astype(np.int32)
        with open(os.path.join(folder, name + ".json"), encoding="utf8") as file:
            about = json.load(file)
        self.lengths = np.array(about["lengths"], dtype=np.int64)
        self.starts = np.array(about["starts"], dtype=np.int64)
        self.weights = np.array(about["weights"], dtype=np.float64)
        self.offsets = np.concatenate(([0], np.cumsum(self.lengths)[:-1])) if len(self.lengths) else self.lengths
        self.ids = torch.from_numpy(ids).to(device)
        self.device = device

    def __len__(self):
        return len(self.lengths)

    def draw(self, rng, share=1.0):
        """Indices of a pass: each as often as its weight says, fractions by chance."""
        wanted = self.weights * share
        times = np.floor(wanted).astype(np.int64)
        times += rng.random(len(wanted)) < (wanted - times)
        return np.repeat(np.arange(len(self)), times)

    def tokens(self, i):
        return self.ids[self.offsets[i]:self.offsets[i] + self.lengths[i]].tolist()

    def gather(self, chosen):
        """(ids, starts, lengths) of the examples: ids [n, longest], 2 (pad) behind the end."""
        length = self.lengths[chosen]
        wide = int(-(-length.max() // 16) * 16)
        at = torch.from_numpy(self.offsets[chosen]).to(self.device, non_blocking=True)[:, None]
        column = torch.arange(wide, device=self.device)[None, :]
        n = torch.from_numpy(length).to(self.device, non_blocking=True)[:, None]
        inside = column < n
        ids = torch.where(inside, self.ids[torch.where(inside, at + column, 0)].long(), 2)
        start = torch.from_numpy(self.starts[chosen]).to(self.device, non_blocking=True)[:, None]
        return ids, start, n


def cut(examples, chosen, budget, rng):
    """Groups of indices whose padded size is at most `budget` tokens; lengths are alike within a group."""
    noisy = examples.lengths[chosen] * (1 + 0.1 * rng.random(len(chosen)))
    chosen = chosen[np.argsort(noisy, kind="stable")]
    groups, begin, widest = [], 0, 0
    for i in range(len(chosen)):
        widest_now = max(widest, -(-int(examples.lengths[chosen[i]]) // 16) * 16)
        if i > begin and widest_now * (i - begin + 1) > budget:
            groups.append(chosen[begin:i])
            begin, widest_now = i, -(-int(examples.lengths[chosen[i]]) // 16) * 16
        widest = widest_now
    if begin < len(chosen):
        groups.append(chosen[begin:])
    return groups
