"""Tests of `api/` as a class writes them: unittest, files opened and left open, the model replaced by a patch."""

import json
import os
import shutil
import tempfile
import unittest
from unittest.mock import patch

import pytest
import settings
import utils
from app import app
from werkzeug.datastructures import FileStorage

IMAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "image.png")
STORED = "/tmp/" + utils.get_file_hash(FileStorage(open(IMAGE, "rb"), "image.png"))


class TestApi(unittest.TestCase):
    def setUp(self):
        app.config["TESTING"] = True
        app.config["UPLOAD_FOLDER"] = "/tmp"
        self.client = app.test_client()

    def tearDown(self):
        if os.path.exists(STORED):
            os.remove(STORED)

    def test_index(self):
        self.assertEqual(self.client.get("/").status_code, 200)

    def test_nothing_sent(self):
        answer = self.client.post("/predict")
        self.assertEqual(answer.status_code, 400)
        self.assertEqual(json.loads(answer.data), {"success": False, "prediction": None, "score": None})

    def test_wrong_kind_of_file(self):
        answer = self.client.post("/predict", data={"file": (open(__file__, "rb"), "notes.txt")})
        self.assertEqual(answer.status_code, 400)

    @patch("views.model_predict")
    def test_predict(self, model_predict):
        model_predict.return_value = ("Eskimo_dog", 0.9346)
        answer = self.client.post("/predict", data={"file": open(IMAGE, "rb")})
        self.assertEqual(answer.status_code, 200)
        document = json.loads(answer.get_data(as_text=True))
        self.assertEqual(sorted(document), ["prediction", "score", "success"])
        self.assertEqual((document["prediction"], document["score"]), ("Eskimo_dog", 0.9346))
        self.assertTrue(os.path.exists(STORED))

    @patch("views.model_predict")
    def test_page(self, model_predict):
        model_predict.return_value = ("Eskimo_dog", 0.9346)
        answer = self.client.post("/", data={"file": (open(IMAGE, "rb"), "image.png")})
        self.assertEqual(answer.status_code, 200)
        self.assertIn(b"Eskimo", answer.data)

    def test_feedback(self):
        before, folder = settings.FEEDBACK_FILEPATH, tempfile.mkdtemp()
        settings.FEEDBACK_FILEPATH = folder + "/feedback"
        try:
            answer = self.client.post("/feedback", data={"report": "{'a': 'report'}"})
            self.assertEqual(answer.status_code, 200)
            self.assertEqual(open(folder + "/feedback").readlines(), ["{'a': 'report'}\n"])
        finally:
            settings.FEEDBACK_FILEPATH = before
            shutil.rmtree(folder)


class TestUtils(unittest.TestCase):
    def test_allowed_file(self):
        self.assertTrue(utils.allowed_file("some/where/DOG.JPeG"))
        self.assertFalse(utils.allowed_file("dog.jpeg.txt"))

    def test_hash(self):
        self.assertRegex(utils.get_file_hash(FileStorage(open(IMAGE, "rb"), "dog.png")), "^[0-9a-f]{32}[.]png$")


@pytest.mark.api
def test_with_a_marker_that_nobody_registered():
    assert app.test_client().get("/predict").status_code == 405
