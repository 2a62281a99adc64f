"""``python -m llmguide``, the way in for torchrun."""

import sys

from llmguide.cli import main

sys.exit(main())
