"""Writing records: validation, keys, system fields, and undo."""

from collections.abc import Iterable, Mapping
from typing import Any

from sandbox import clock, ids, values
from sandbox.cdc import Change
from sandbox.errors import RecordError
from sandbox.org import Actor, Org
from sandbox.schema import Field, SObject
from sandbox.tables import Table
from sandbox.values import Record

_NOT_DATA = {"attributes", "id"}


class Transaction:
    """Changes of one request. Each method refuses before it changes anything; `undo` takes all back."""

    def __init__(self, org: Org, actor: Actor) -> None:
        self.org = org
        self.actor = actor
        self.changes: list[Change] = []
        self.now_ms = org.clock.second_ms()

    def commit(self) -> None:
        self.org.commit(self.changes, self.actor)

    def undo(self, keep: int = 0) -> None:
        """Takes back every change after the first `keep`."""
        while len(self.changes) > keep:
            change = self.changes.pop()
            self.org.tables[change.sobject.name].put(change.id, change.before or None)

    # --- verbs

    def insert(self, sobject: SObject, raw: Mapping[str, Any]) -> str:
        """The id of the new record."""
        given = self._read(sobject, raw, "create")
        record = _defaults(sobject) | given
        record.setdefault("OwnerId", self.actor.user_id)
        record = {name: value for name, value in record.items() if name.lower() in sobject.by_name}
        _require(sobject, record)
        self._check(sobject, "", record, given)
        record["Id"] = self.org.new_id(sobject)
        record |= self.stamps(new=True)
        self._put("CREATE", sobject, {}, record, record)
        return str(record["Id"])

    def update(self, sobject: SObject, record_id: str, raw: Mapping[str, Any]) -> None:
        before = self.existing(sobject, record_id)
        if before.get("IsConverted"):
            raise RecordError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        given = self._read(sobject, raw, "update")
        _require(sobject, {**before, **given})
        self._check(sobject, str(before["Id"]), given, given, before)
        self.change(sobject, before, given | self.stamps())

    def change(
        self, sobject: SObject, before: Record, given: Record, kind: str = "UPDATE", untold: Iterable[str] = ()
    ) -> None:
        """Writes values as they are. Told is what differs from before, and LastModifiedDate; not the `untold`."""
        changed = {
            name: value
            for name, value in given.items()
            if name not in untold and (before.get(name) != value or name == "LastModifiedDate")
        }
        self._put(kind, sobject, before, {**before, **given}, changed)

    def delete(self, sobject: SObject, record_id: str, master_id: str | None = None) -> None:
        before = self.existing(sobject, record_id)
        gone: Record = {"IsDeleted": True, "SystemModstamp": self.now_ms}
        if master_id:
            gone["MasterRecordId"] = master_id
        self.change(sobject, before, gone, "DELETE")

    def undelete(self, sobject: SObject, record_id: str) -> None:
        record = self.org.tables[sobject.name].records.get(ids.full(record_id) or "")
        if record is None or not record.get("IsDeleted"):
            raise RecordError("UNDELETE_FAILED", "Entity is not in the recycle bin")
        back = {"IsDeleted": False, "MasterRecordId": None} | self.stamps()
        self._unique(self.org.tables[sobject.name], str(record["Id"]), record)
        self.change(sobject, record, back, "UNDELETE")

    def upsert(self, sobject: SObject, key: Field, value: object, raw: Mapping[str, Any]) -> tuple[str, bool]:
        """Id and whether it is new. The key's own value comes from the request's address."""
        found = self.org.tables[sobject.name].holders(key.name, value)
        rest = {name: given for name, given in raw.items() if name.lower() != key.name.lower()}
        if not found:
            return self.insert(sobject, {**rest, key.name: value}), True
        record_id = next(iter(found))
        self.update(sobject, record_id, rest)
        return record_id, False

    def existing(self, sobject: SObject, record_id: str) -> Record:
        """The live record. RecordError says whether it was deleted or never was."""
        full = ids.full(record_id) if isinstance(record_id, str) else None
        if full is None:
            raise RecordError("MALFORMED_ID", f"{sobject.label} ID: id value of incorrect type: {record_id}", ("Id",))
        record = self.org.tables[sobject.name].records.get(full)
        if record is None:
            raise RecordError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", status=404)
        if record.get("IsDeleted"):
            raise RecordError("ENTITY_IS_DELETED", "entity is deleted", status=404)
        return record

    # --- reading what was given

    def _read(self, sobject: SObject, raw: Mapping[str, Any], verb: str) -> Record:
        record: Record = {}
        closed: list[str] = []
        for name, value in raw.items():
            lower = name.lower()
            each = sobject.by_name.get(lower)
            if lower in _NOT_DATA:
                continue
            if each is None:
                record |= self._by_relationship(sobject, name, value)
            elif each.readonly or each.type == "id":
                closed.append(each.name)
            else:
                record[each.name] = values.read(each, value)
        if closed:
            raise values.unwritable(closed, verb)
        return record

    def _by_relationship(self, sobject: SObject, name: str, value: object) -> Record:
        """`{"Partner__r": {"Key__c": "P-1"}}`: a lookup named by the other record's external id."""
        each = sobject.by_relationship.get(name.lower())
        if each is None or not isinstance(value, Mapping):
            raise values.unknown_column(sobject, name)
        for key, wanted in value.items():
            for target in each.to:
                field = self.org.types[target].by_name.get(str(key).lower())
                if field and field.external_id:
                    return {each.name: self._looked_up(target, field, wanted)}
        raise RecordError("INVALID_FIELD", f"Foreign key external ID not found on {each.to[0]}: {list(value)}")

    def _looked_up(self, target: str, field: Field, wanted: object) -> str:
        for found in self.org.tables[target].holders(field.name, wanted):
            return found
        message = f"Foreign key external ID: {wanted} not found for field {field.name} in entity {target}"
        raise RecordError("INVALID_FIELD", message)

    # --- checking it

    def _check(
        self, sobject: SObject, record_id: str, record: Record, given: Record, before: Record | None = None
    ) -> None:
        for name, value in given.items():
            each = sobject.by_name[name.lower()]
            if each.type == "reference" and value is not None:
                self._refers(each, str(value))
        self._unique(self.org.tables[sobject.name], record_id, record)
        if self.org.options.version_rule:
            _obey(sobject, given, before or {})

    def _refers(self, each: Field, target_id: str) -> None:
        target = self.org.type_of(target_id)
        if target is None or target.name not in each.to:
            message = f"{each.label}: id value of incorrect type: {target_id}"
            raise RecordError("MALFORMED_ID", message, (each.name,))
        found = self.org.tables[target.name].records.get(target_id)
        if found is None or found.get("IsDeleted"):
            raise RecordError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", (each.name,))

    def _unique(self, table: Table, record_id: str, record: Record) -> None:
        for key in table.sobject.keys:
            value = record.get(key.name)
            others = table.holders(key.name, value) - {record_id} if key.unique and value is not None else None
            if others:
                message = f"duplicate value found: {key.name} duplicates value on record with id: {next(iter(others))}"
                raise RecordError("DUPLICATE_VALUE", message)

    # --- storing it

    def today(self) -> str:
        return clock.iso(self.now_ms)[:10]

    def stamps(self, *, new: bool = False) -> Record:
        stamps: Record = {
            "LastModifiedDate": self.now_ms,
            "LastModifiedById": self.actor.user_id,
            "SystemModstamp": self.now_ms,
        }
        if new:
            stamps |= {"CreatedDate": self.now_ms, "CreatedById": self.actor.user_id}
        return stamps

    def _put(self, kind: str, sobject: SObject, before: Record, after: Record, told: Record) -> None:
        if "FirstName" in told or "LastName" in told:
            after["Name"] = values.full_name(after)
        self.org.tables[sobject.name].put(after["Id"], after)
        self.changes.append(Change(kind, sobject, after["Id"], before, after, told))


def _defaults(sobject: SObject) -> Record:
    record: Record = {}
    for each in sobject.fields:
        if each.default is not None:
            record[each.name] = each.default
        elif each.type == "boolean":
            record[each.name] = False
    return record


def _require(sobject: SObject, record: Record) -> None:
    missing = [each.name for each in sobject.required if record.get(each.name) is None]
    if missing:
        message = f"Required fields are missing: [{', '.join(missing)}]"
        raise RecordError("REQUIRED_FIELD_MISSING", message, tuple(missing))


def _obey(sobject: SObject, given: Record, before: Record) -> None:
    for rule in sobject.rules:
        new, old = given.get(rule.field), before.get(rule.field)
        if rule.rule == "never_lower" and new is not None and old is not None and new < old:
            raise RecordError("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, (rule.field,))
