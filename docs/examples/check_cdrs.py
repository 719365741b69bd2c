"""Proves a copy of all rated CDRs against the server's control totals: none is missing, doubled or changed.

Usage: check_cdrs.py [ADDRESS]            127.0.0.1:50051 unless said otherwise

Needs Python 3.9 with grpcio, grpcio-reflection and protobuf; what messages look like it learns from the server. It asks for the totals
first, reads every CDR up to their position, and computes counts, sums, the numbering and the hash chain for itself. Exit code 0: all
agree; 1: something does not, and it is named.
"""

import hashlib
import sys
from collections import defaultdict

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Cdrs:
    """The methods of ocs.cdr.v1, as the server describes them."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)])
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))

    def method(self, service, name):
        described = self.pool.FindServiceByName("ocs.cdr.v1." + service).FindMethodByName(name)
        request, answer = (message_factory.GetMessageClass(it) for it in (described.input_type, described.output_type))
        kind = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        call = kind(f"/ocs.cdr.v1.{service}/{name}", request.SerializeToString, answer.FromString)
        return lambda **fields: call(request(**fields))


def rows_of(totals):
    """The server's totals, by period, kind and currency."""
    rows = {}
    for period in totals.periods:
        begin = period.accounting_period.seconds if period.HasField("accounting_period") else None
        for row in period.totals:
            moved = {(it.holding, it.origin): (it.given, it.taken, it.cost) for it in row.movements}
            rows[begin, row.kind, row.currency] = (row.cdr_count, row.late_count, row.amount.mantissa, moved)
    return rows


def main():
    cdrs = Cdrs(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
    totals = cdrs.method("ControlTotals", "GetControlTotals")()
    position, chain = totals.since_position - 1, totals.since_chain_hash
    counts = defaultdict(lambda: [0, 0, 0, defaultdict(lambda: [0, 0, 0])])
    last_of = {}
    findings = []
    if totals.through_position >= totals.since_position:
        stream = cdrs.method("CdrExport", "StreamCdrs")(
            from_position=totals.since_position,
            max_records=totals.through_position - totals.since_position + 1,
            with_stored_octets=True,
        )
        for batch in stream:
            for cdr in batch.records:
                position += 1
                if cdr.position != position:
                    findings.append(f"CDR {cdr.position} came where {position} was due")
                    position = cdr.position
                chain = hashlib.sha256(chain + cdr.stored_octets).digest()
                number, before = last_of.get(cdr.account_id, (cdr.account_cdr_number - 1, cdr.previous_position))
                if (cdr.account_cdr_number, cdr.previous_position) != (number + 1, before):
                    findings.append(f"CDR {position}: number {cdr.account_cdr_number} of its account follows {number}")
                last_of[cdr.account_id] = (cdr.account_cdr_number, position)
                begin = cdr.accounting_period.seconds if cdr.HasField("accounting_period") else None
                row = counts[begin, cdr.kind, cdr.amount.currency]
                row[0] += 1
                row[1] += cdr.late
                row[2] += cdr.amount.mantissa
                for movement in cdr.movements:
                    moved = row[3][movement.holding, movement.origin]
                    moved[0] += max(movement.delta, 0)
                    moved[1] += max(-movement.delta, 0)
                    moved[2] += movement.cost
            if batch.chain_hash and batch.chain_hash != chain:
                findings.append(f"CDR {position}: the hash chain does not lead here")
                chain = batch.chain_hash
    own = {key: (*row[:3], {what: tuple(sums) for what, sums in row[3].items()}) for key, row in counts.items()}
    said = rows_of(totals)
    for key in sorted(own.keys() | said.keys(), key=str):
        if own.get(key) != said.get(key):
            findings.append(f"period, kind, currency {key}: read {own.get(key)}, the server adds up to {said.get(key)}")
    if position != totals.through_position:
        findings.append(f"the last CDR is {position}, the totals go up to {totals.through_position}")
    if chain != totals.chain_hash:
        findings.append("the hash chain does not end where the totals' does")
    count = position - totals.since_position + 1
    print(f"{count} CDRs up to {position}, {len(last_of)} accounts, chain {chain.hex()}")
    for finding in findings[:50]:
        print("  -", finding)
    print("all agree" if not findings else f"{len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
