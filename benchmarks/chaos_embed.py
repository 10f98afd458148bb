"""Random calls of `embed`, `predict` and `LogMel`: how many give a finite result, a named error, or anything else?

    python benchmarks/chaos_embed.py [CALLS [FIRST_SEED]]     # 1000 unless told

The calls are those of tests/fuzz_inputs.py; a call is its seed, so any of them can be made again. The last line
is JSON; the exit status is 1 where there was anything else."""
import json, resource, sys, time, warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'tests'))
from fuzz_inputs import try_call

def chaos(calls=1000, first=0):
    "Counts of each function, and the slowest call."
    counts, slowest = {}, (0, first)
    for seed in range(first, first + calls):
        start = time.perf_counter()
        found = try_call(seed)
        slowest = max(slowest, (time.perf_counter() - start, seed))
        counts.setdefault(found.function, Counter())[found.kind] += 1
        if found.kind == 'fault': print(f"seed {seed}: {found.function}, odd {found.odd}: {' '.join(found.text.split())[:300]}")
    return counts, slowest

if __name__ == '__main__':
    warnings.simplefilter('ignore')
    counts, (seconds, seed) = chaos(*map(int, sys.argv[1:3]))
    print('           finite   named error   other')
    for name, c in counts.items(): print(f"{name:8} {c['finite']:8} {c['named']:13} {c['fault']:7}")
    total = sum(counts.values(), Counter())
    print(f"{'all':8} {total['finite']:8} {total['named']:13} {total['fault']:7}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    print(f'slowest call {seconds:.2f} s (seed {seed}); at most {peak:.0f} MiB')
    print(json.dumps(dict(calls=total.total(), finite=total['finite'], named=total['named'], other=total['fault'],
                          slowest_s=round(seconds, 2), peak_mib=round(peak))))
    sys.exit(total['fault'] > 0)
