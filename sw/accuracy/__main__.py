"""``python -m amla.sw.accuracy``: see :mod:`amla.sw.accuracy.study`."""

import sys

from .study import main

sys.exit(main())
