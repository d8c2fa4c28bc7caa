"""The peers of one suite, in a process that stays: reads `case / peer` lines, answers with one JSON line each.

Started by the benchmark with the suite's name and what it runs on; threads are set by environment variables
before anything is imported. `<suite>.py` beside this file has `load(folder, sizes)`, which returns the peers as
{(case, peer): function}, and `sample(case, result)`, which picks the values that are compared with ours.
"""

import importlib
import json
import sys
import time

suite = importlib.import_module(sys.argv[1])
setup = json.loads(sys.argv[2])
peers = suite.load(setup["folder"], setup["sizes"])

for line in sys.stdin:
    case, _, peer = line.strip().partition(" / ")
    run = peers[case, peer]
    start, cpu = time.perf_counter(), time.process_time()
    result = run()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    values = [float(value) for value in suite.sample(case, result)]
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "sample": values}), flush=True)
