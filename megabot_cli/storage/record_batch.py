"""Records that a recording's writer writes together."""

from __future__ import annotations

from megabot_cli.recording.format_v1 import encode_records
from megabot_cli.recording.record import MessageLine, Record


class Batch:
    """Records that are written together, and what a segment counts of them."""

    def __init__(self, t: int) -> None:
        self.records: list[MessageLine | Record] = []
        self.payload_bytes = 0
        self.redactions = 0
        self.t = t  # of the last record

    def add(self, record: Record) -> None:
        self.records.append(record)
        self.redactions += len(record.redacted or ())
        self.t = record.t

    def lines(self) -> bytes:
        """The records as they are written; one that no line can say becomes a fault."""
        try:
            return encode_records(self.records)
        except Exception:
            self._replace_unwritable()
            return encode_records(self.records)

    def _replace_unwritable(self) -> None:
        for place, record in enumerate(self.records):
            try:
                encode_records([record])
            except Exception as fault:
                self.records[place] = lost_record(record.n, record.t, record.kind, fault)


def lost_record(n: int, t: int, kind: str, fault: Exception) -> Record:
    note = f"a record of kind {kind!r:.20} was lost: {type(fault).__name__}"
    return Record(n=n, t=t, kind="fault", note=note)
