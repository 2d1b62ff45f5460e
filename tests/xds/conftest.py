"""Tests of the control plane and of the client; what several of them use lies beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
