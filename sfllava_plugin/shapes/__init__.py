"""The world of sf-llava-tiny: clips of coloured shapes, with questions.

A seed decides clip and questions, alike in training, in the lmms-eval task and in tests. Needs only numpy and OpenCV.
"""
