"""Time one question about one video, stage by stage, against plain libraries.

    python -m benchmarks [--quick] [--geometry small] [--video PATH] [--json FILE]

Both sides take turns in one process, on one device, with the same threads. Their results must agree. Only ratios within
one run mean anything, as the machine may be busy.
"""
