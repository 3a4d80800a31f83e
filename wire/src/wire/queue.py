"""The queue's two sides under one name: Asker for the api; Lane, Leases and Maintenance for the model worker."""

from __future__ import annotations

from wire.asking import Asker
from wire.deliveries import Delivery
from wire.lane import Lane
from wire.leases import Leases
from wire.maintenance import Maintenance
from wire.replies import Counts
from wire.watch import QueueState

__all__ = ["Asker", "Counts", "Delivery", "Lane", "Leases", "Maintenance", "QueueState"]
