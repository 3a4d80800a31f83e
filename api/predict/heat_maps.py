"""Heat maps: which regions support a class, as JSON and as the PNG that the worker draws."""

from flask import url_for

from openapi.schemas import Explanation
from predict.prediction import Prediction
from problems import Problem
from wire import ActivationMap

# The model may be another one soon.
CACHING = "private, max-age=60"


def map_of(prediction: Prediction) -> ActivationMap:
    """Return the heat map; raise Problem where the answer has no map."""
    if prediction.activation_map is None:
        raise Problem(422, "not_explainable", "The worker that answered has no heat maps: restart it.")
    return prediction.activation_map


def explanation(prediction: Prediction) -> Explanation:
    """Return the heat map of a prediction as a document; raise Problem where there is none."""
    found = map_of(prediction)
    return {
        "label": found.label,
        "rows": found.rows,
        "columns": found.columns,
        "values": list(found.values),
        "picture": list(found.picture),
        "view": list(found.view),
        "png": url_for("app_router.activation_map", filename=prediction.filename, label=found.label),
    }


def png(prediction: Prediction) -> bytes:
    """Return the heat map of a prediction as a PNG in the image's proportions; raise Problem where there is none."""
    drawn = map_of(prediction).png
    if not drawn:
        detail = "The worker that answered is of an earlier release, which draws no maps; restart it, or try again."
        raise Problem(503, "not_ready", detail, retry_after_s=1)
    return drawn
