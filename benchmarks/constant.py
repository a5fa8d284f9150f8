"""`python -m benchmarks.constant PORT`: the yardstick, a FastAPI route that returns a constant."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})


@app.get("/constant")
async def constant() -> dict[str, str]:
    """The same, always."""
    return {"status": "succeeded"}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
