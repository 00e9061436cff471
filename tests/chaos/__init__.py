"""A real stack under seeded faults and real load, and what must be true of it afterwards.

`python -m tests.chaos` runs it in full, `test_chaos` in small. `run` is one run from start to verdict; `rig` owns the
processes, `proxy` the lines between them, `storm` performs a `schedule` of faults, `load` is the outside world and
keeps a `history`, `observe` looks into the stack afterwards, `check` compares the two, `report` tells.
"""
