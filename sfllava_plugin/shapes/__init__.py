"""The world of sf-llava-tiny: short clips of coloured shapes, and questions whose answers are known.

`scenes` draws a scene from a seed, `drawing` renders it at any moment, `questions` asks about it, `clips` writes video
files. The same seed gives the same clip and the same questions wherever they are asked for: in training, in the
lmms-eval task, in the tests. Needs numpy and OpenCV; knows no model.
"""
