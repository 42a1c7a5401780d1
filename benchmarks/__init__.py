"""How long one question about one video takes, stage by stage, beside plain libraries doing the same work.

    python -m benchmarks [--quick] [--geometry small] [--video PATH] [--json FILE]

Both sides run in one process, on one device, with the same threads, by turns, and their results are compared: a stage
whose two sides disagree is an error. Only ratios from one run mean anything; the machine may be busy.
"""
