"""Cameras of Micro-Manager: sequences, useq plans, and cores that other programs drive.

Upper imports lower: ``mda`` > ``attach`` > ``sequence_source``, ``sequence_follower``,
``mda_frames`` > ``sequence_reader``, ``stream_start``, ``handover`` > ``setup``,
``exposure_watch``, ``mda_plan`` > ``properties`` > ``running_queries``,
``python_core``.
"""
