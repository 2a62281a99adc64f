"""``python -m llmguide``, the way in for torchrun."""

import sys

from llmguide.cli.main import main

sys.exit(main())
