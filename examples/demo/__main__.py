"""`make demo`: a real teacher becomes a smaller student over HTTP, and the figure is recomputed.

Run from the checkout: `python -m examples.demo`. Its files stay in `demo-data/`.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the demo."""
    try:
        # torch takes seconds to load, time enough for a Ctrl-C, which deserves no traceback.
        from examples.demo import walkthrough  # noqa: PLC0415 - see above

        return walkthrough.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
