"""Tests of sfllava_plugin.video."""
