"""All use cases over one database, wired together once."""

from __future__ import annotations

from collections.abc import Mapping

from .asks import Asks
from .catalogue import Catalogue
from .diagnosis import Diagnosing
from .domain.suggester import Spec
from .events import Events
from .exports import Exports
from .keys import Keys
from .leases import Leases
from .ledger import Ledger
from .limits import Limits, Unlimited
from .operations import Operations
from .profiles import LlmProfile
from .store.engine import Database
from .store.unit_of_work import Clock
from .studies import Studies, StudyFinder
from .suggesting import Suggesting
from .sweeper import Sweeper
from .tells import Tells
from .transactions import Transactions
from .trials import Trials
from .updates import Updates
from .wakeups import Wakeups


class Services:
    """The product without its edges.

    Args:
        database: engines; closed by `close`.
        wakeups: started by `start`, closed by `close`.
        specs: the suggesters on offer, by name.
        limits: of request rates.
        clock: stands in for the database's clock, in tests.
        profiles: of language models, by name.
    """

    def __init__(
        self,
        database: Database,
        wakeups: Wakeups,
        specs: Mapping[str, Spec],
        limits: Limits | None = None,
        clock: Clock | None = None,
        profiles: Mapping[str, LlmProfile] | None = None,
    ) -> None:
        self.wakeups = wakeups
        self.transactions = Transactions(database, wakeups, clock)
        self.profiles = dict(profiles or {})
        self.catalogue = Catalogue(specs, profiles=self.profiles)
        self.limits: Limits = limits or Unlimited()
        finder = StudyFinder(self.transactions)
        self.studies = Studies(self.transactions, finder, self.catalogue)
        self.asks = Asks(self.transactions, finder, self.catalogue)
        self.tells = Tells(finder, self.catalogue)
        self.trials = Trials(self.transactions, finder)
        self.leases = Leases(finder)
        self.operations = Operations(self.transactions, self.studies, finder, self.asks)
        self.events = Events(self.transactions, self.studies)
        self.exports = Exports(self.transactions, self.studies)
        self.updates = Updates(self.transactions, self.studies)
        self.diagnosing = Diagnosing(self.transactions)
        self.keys = Keys(self.transactions)
        self.suggesting = Suggesting(self.transactions)
        self.ledger = Ledger(self.transactions)
        self.sweeper = Sweeper(self.transactions)

    async def start(self) -> None:
        """Begin to listen for wake-ups."""
        await self.wakeups.start()

    async def close(self) -> None:
        """Finish what is under way and close everything."""
        await self.wakeups.close()
        await self.transactions.close()
