"""What the two lists of images to decide about have in common: reported ones, and suggested ones."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flask import render_template, request, url_for

from openapi.operation import Text
from reports import labels as reports_labels
from reports.schema import MAX_LABEL

VIEWS = ("list", "grid")
VIEW = Text("view", "query", "list or grid", "grid", f"({'|'.join(VIEWS)})")


class Parameters(NamedTuple):
    """The parameters of a list's address, and which of them its previous and its next page have instead, if any."""

    query: Mapping[str, Any]
    previous_page: Mapping[str, Any] | None
    next_page: Mapping[str, Any] | None


def show(template: str, parameters: Parameters, labels: Iterable[str], **own: Any) -> str:
    """Return a page of a list; `labels` are those that are proposed."""
    query, previous_page, next_page = parameters
    given = {name: value for name, value in query.items() if value}
    spelling = reports_labels.spelling()

    def address(**changes: Any) -> str:
        """Return the address of the list with other parameters; None removes one."""
        return url_for(str(request.endpoint), **(given | changes))

    return render_template(
        template,
        query=given,
        address=address,
        previous_page=None if previous_page is None else address(**previous_page),
        next_page=None if next_page is None else address(**next_page),
        view=given.get("view") or VIEWS[0],
        max_label=MAX_LABEL,
        labels=sorted({spelling.of(label) for label in labels}),
        name_of=spelling.of,
        is_new=reports_labels.newness(),
        **own,
    )
