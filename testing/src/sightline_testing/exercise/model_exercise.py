"""Tests of `model/` as a class writes them."""

import os
import unittest

import ml_service
import settings

HERE = os.path.dirname(os.path.abspath(__file__))


class TestMlService(unittest.TestCase):
    def test_predict(self):
        settings.UPLOAD_FOLDER = HERE
        self.forgotten = open(os.path.join(HERE, "image.png"), "rb")
        class_name, probability = ml_service.predict("image.png")
        self.assertEqual(class_name, "analog_clock")
        self.assertIsInstance(class_name, str)
        self.assertEqual(probability, round(probability, 4))
