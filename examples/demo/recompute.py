"""Recomputes a student's test accuracy with numpy, torch and timm, and nothing of ours.

    python -I recompute.py STUDENT_FOLDER ARRAYS.npz SPLITS.json

prints `{"correct": …, "items": …, "accuracy": …}`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch


def main(student: str, arrays: str, splits: str) -> None:
    """Loads the student as any timm model, and counts on the rows of the test part."""
    rows = json.loads(Path(splits).read_text(encoding="utf-8"))["test"]
    with np.load(arrays) as source:
        pixels, labels = source["x"][rows], source["y"][rows]
    network = timm.create_model(f"local-dir:{student}", pretrained=True).eval()
    fed: Any = network.pretrained_cfg  # config.json says what the student was fed
    mean, std = torch.tensor(fed["mean"]), torch.tensor(fed["std"])
    images = torch.from_numpy(pixels).unsqueeze(1).float() / 255
    with torch.inference_mode():
        logits = network((images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))
    correct = int((logits.argmax(1).numpy() == labels).sum())
    print(json.dumps({"correct": correct, "items": len(rows), "accuracy": correct / len(rows)}))


if __name__ == "__main__":
    ours = [name for name in sys.modules if name.partition(".")[0] in ("stillhouse", "worker")]
    if ours:
        sys.exit(f"this process must know nothing of ours, but imported {ours}")
    main(*sys.argv[1:])
