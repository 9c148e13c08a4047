"""Records in memory, with an index for every field that is looked up by value."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.schema import SObject
from sandbox.values import Record


@dataclass(slots=True)
class Table:
    """The records of one object by id; a stored record is never changed in place."""

    sobject: SObject
    records: dict[str, Record] = field(default_factory=dict)
    index: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def put(self, record_id: str, record: Record | None) -> None:
        """Stores the record in place of the one before; None takes it away."""
        self._unindex(record_id)
        if record is None:
            self.records.pop(record_id, None)
            return
        self.records[record_id] = record
        for key in self.sobject.keys:
            value = record.get(key.name)
            if value is not None and not record.get("IsDeleted"):
                self.index.setdefault(key.name, {}).setdefault(str(value).lower(), set()).add(record_id)

    def _unindex(self, record_id: str) -> None:
        old = self.records.get(record_id)
        for key in self.sobject.keys if old else ():
            value = old.get(key.name) if old else None
            self.index.get(key.name, {}).get(str(value).lower(), set()).discard(record_id)

    def holders(self, name: str, value: object) -> set[str]:
        """Ids of the live records with this value in an indexed field; case does not matter."""
        return self.index.get(name, {}).get(str(value).lower(), set())

    def live(self) -> Iterator[Record]:
        return (record for record in self.records.values() if not record.get("IsDeleted"))

    def clear(self) -> None:
        self.records.clear()
        self.index.clear()

    def reshape(self, sobject: SObject) -> None:
        """Takes on another set of fields; values of fields that are gone are dropped."""
        kept = {each.name for each in sobject.fields}
        records, self.sobject, self.records, self.index = self.records, sobject, {}, {}
        for record_id, record in records.items():
            self.put(record_id, {name: value for name, value in record.items() if name in kept})
