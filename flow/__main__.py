"""``python -m amla.flow``: see :mod:`amla.flow.synth`."""

import sys

from .synth import main

sys.exit(main())
