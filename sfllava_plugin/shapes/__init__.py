"""The world of sf-llava-tiny: short clips of coloured shapes, and questions with known answers.

A seed decides clip and questions, alike in training, in the lmms-eval task and in tests. Needs only numpy and OpenCV.
"""
