"""How the server loads the application, which is most of the time until it serves."""

import gc
from types import SimpleNamespace

import pytest
from gunicorn.workers.ggevent import GeventWorker

from server.worker import Worker


@pytest.mark.parametrize("fault", [None, ImportError])
def test_no_garbage_is_searched_while_the_application_is_loaded(
    monkeypatch: pytest.MonkeyPatch, fault: type[Exception] | None
) -> None:
    searched = []

    def load(worker: GeventWorker) -> None:
        searched.append(gc.isenabled())
        worker.wsgi = SimpleNamespace(
            extensions={"sightline.load_shedder": "shedder", "sightline.fold_metrics": "fold"}
        )
        if fault:
            raise fault

    monkeypatch.setattr(GeventWorker, "load_wsgi", load)
    worker = Worker.__new__(Worker)
    if fault:
        with pytest.raises(fault):
            worker.load_wsgi()
    else:
        worker.load_wsgi()
        assert (worker._load_shedder, worker._fold_metrics) == ("shedder", "fold")
    assert (searched, gc.isenabled()) == ([False], True)
