"""Listing a service's jobs, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracker import lifecycle
from tracker.executors.base import Executed, Executor, OneByOne, Tools
from tracker.listed import Merging
from tracker.model import Failure, Kind, Operation
from tracker.outcomes import Outcome
from tracker.services import Service
from tracker.transports.base import Call, Reply


class Refresh(OneByOne):
    """One call for one page. Where the listing stands is in the operation."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._merging = service.list.merging if service.list is not None else Merging()

    def prepare(self, items: Sequence[Operation]) -> Call | list[Outcome]:
        """The call for the next page; none where all are there. Raises UsageError."""
        [item] = items
        if "merged" in item.payload:
            return [lifecycle.gone_on_with(item, self._merging)]
        cursor, since = item.payload.get("cursor"), item.payload.get("since")
        return self._service.build_list(cursor, since)

    def settle(self, items: Sequence[Operation], reply: Reply) -> Executed:
        """The jobs of the page, and whether there are more."""
        [item] = items
        result = self._service.read_list(reply)
        failure = result if isinstance(result, Failure) else None
        attempted = lifecycle.after_page(item, result, self._merging, self._service.retry)
        return Executed([attempted], failure)


def serve(service: Service, tools: Tools) -> Mapping[str, Executor[Operation]]:
    """The kind of operation that this file is, for `service`; see `tracker.executors`."""
    return {Kind.REFRESH: Refresh(service)} if service.list is not None else {}
