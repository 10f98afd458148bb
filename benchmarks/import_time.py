"""How long does `import sslam_nb` take beside `import torch`? python benchmarks/import_time.py [REPEATS]

Each import runs in a process of its own. The time is that of the process less an empty one: the median of the
repeats, after one round that warms the file cache. `import sslam_nb` loads a chapter when a name of it is
first used, so the time of using every re-exported name is given as well."""
import json, statistics, subprocess, sys, time

CASES = {
    'import torch': 'import torch',
    'import sslam_nb': 'import sslam_nb',
    'every name of sslam_nb': 'import sslam_nb; [getattr(sslam_nb, name) for name in sslam_nb.__all__]',
}

def seconds(program):
    "Wall time of one Python process [s]."
    start = time.perf_counter()
    subprocess.run([sys.executable, '-c', program], check=True)
    return time.perf_counter() - start

def rounds(repeats=5):
    "Seconds of each case less an empty process, round by round, interleaved so that a busy machine slows all alike."
    programs = dict(empty='pass', **CASES)
    laps = [{case: seconds(program) for case, program in programs.items()} for _ in range(repeats + 1)][1:]
    return [{case: lap[case] - lap['empty'] for case in CASES} for lap in laps]

def measure(repeats=5):
    "Median seconds of each case."
    laps = rounds(repeats)
    return {case: statistics.median(lap[case] for lap in laps) for case in CASES}

if __name__ == '__main__':
    times = measure(*map(int, sys.argv[1:2]))
    ratios = {case: t/times['import torch'] for case, t in times.items()}
    for case, t in times.items(): print(f'{case:24} {t:6.2f} s   {ratios[case]:5.2f} x import torch')
    print(json.dumps(dict(seconds=times, ratio=ratios)))
