"""One flat batch, as the collator makes them, of all texts of a token store."""

from typing import Any

import numpy as np
import torch

from ance_tele.data.tokens import TokenStore
from ance_tele.encode.encoder import Forward


def batch(tokens: TokenStore, forward: Forward) -> list[dict[str, Any]]:
    rows = np.argsort(-tokens.lengths(), kind="stable")
    ids, mask = map(torch.from_numpy, tokens.padded(rows, forward.pad))
    asked, asked_mask = map(torch.from_numpy, tokens.padded(np.arange(3), forward.pad))
    query = {"input_ids": asked, "attention_mask": asked_mask, "lengths": asked_mask.sum(1).tolist()}
    query |= {"target": torch.tensor([2, 0, 5])}
    passage = {"input_ids": ids, "attention_mask": mask, "lengths": mask.sum(1).tolist()}
    passage |= {"row": torch.from_numpy(rows)}
    owner = torch.arange(len(rows)) % 3
    return [{**query, "positives": torch.full((3, 1), -1)}, {**passage, "query": owner}]
