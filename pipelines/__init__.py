"""What turns the benchmark into results: DVC's stages, and the ``bench`` command.

The OpenBLAS of numpy and scipy chooses its kernels according to the processor, and each kernel rounds differently.
Nearly every x86 processor of the last ten years has AVX2: where it does, the AVX2 kernels are requested before numpy is
loaded, so that all machines round alike.

A module of this package that is run by ``python -m`` below a `warm` server is taken over by it here, before anything
is imported.
"""

import os
import sys
from pathlib import Path

_CPU = Path("/proc/cpuinfo")

if _CPU.is_file() and " avx2 " in _CPU.read_text(encoding="utf-8", errors="replace"):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")

# So Python marks a module that ``-m`` runs while the package around it is imported.
if sys.argv[:1] == ["-m"] and "BENCH_WARM_SERVER" in os.environ and sys.orig_argv[1:2] == ["-m"]:
    from pipelines import warm

    warm.take_over(sys.orig_argv[2], sys.argv[1:])
