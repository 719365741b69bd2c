"""An operator's program in another language: everything it knows it learns from the server by reflection.

Usage: operator_client.py ADDRESS. Ends with 0 when every promise held, and says which did not.
"""

import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Server:
    """Calls methods by name with dictionaries' worth of fields."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def services(self):
        return set(self.database.get_services())

    def call(self, service, method, **fields):
        described = self.pool.FindServiceByName("ocs.operator.v1." + service).FindMethodByName(method)
        request = message_factory.GetMessageClass(described.input_type)
        answer = message_factory.GetMessageClass(described.output_type)
        call = self.channel.unary_unary(
            f"/ocs.operator.v1.{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(request(**fields), timeout=10)

    def refused(self, service, method, **fields):
        """The code, the stable reason and the fields of a call that must be refused."""
        try:
            self.call(service, method, **fields)
        except grpc.RpcError as error:
            status = status_pb2.Status()
            for key, value in error.trailing_metadata():
                if key == "grpc-status-details-bin":
                    status.ParseFromString(value)
            reason, named = "", []
            for detail in status.details:
                info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
                if detail.Unpack(info):
                    reason = info.reason
                elif detail.Unpack(bad):
                    named = [violation.field for violation in bad.field_violations]
            return error.code(), reason, named
        raise AssertionError(f"{method} was not refused")


def same(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: {found!r} is not {expected!r}")


def main(address):
    server = Server(address)
    services = server.services()
    for wanted in ("Accounts", "AuditLog", "Sessions", "Subscribers", "Usage"):
        assert f"ocs.operator.v1.{wanted}" in services, services
    assert "grpc.health.v1.Health" in services, services

    before = server.call("Accounts", "GetAccount", name="accounts/3").account
    euros = {"mantissa": 500, "scale": 2, "currency": "EUR"}
    paid = server.call("Accounts", "TopUp", name="accounts/3", amount=euros, idempotency_key="py-1", reason="python")
    same("paid in", paid.balance.mantissa - before.balance.mantissa, 5_000_000)
    again = server.call("Accounts", "TopUp", name="accounts/3", amount=euros, idempotency_key="py-1", reason="python")
    same("a repeat", (again.repeated, again.cdr_number), (True, paid.cdr_number))

    more = {**euros, "mantissa": 501}
    same(
        "the same key for something else",
        server.refused("Accounts", "TopUp", name="accounts/3", amount=more, idempotency_key="py-1"),
        (grpc.StatusCode.ALREADY_EXISTS, "KEY_REUSED", []),
    )
    fine = {**euros, "scale": 9}
    same(
        "too many decimals",
        server.refused("Accounts", "TopUp", name="accounts/3", amount=fine, idempotency_key="py-2"),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["amount.scale"]),
    )
    same(
        "nobody's account",
        server.refused("Accounts", "GetAccount", name="accounts/404404")[:2],
        (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"),
    )

    movements = server.call("Accounts", "ListMovements", account="accounts/3", page_size=1).movements
    same("the newest movement", [-cdr.amount.mantissa for cdr in movements], [5_000_000])
    found = server.call("Subscribers", "GetSubscriber", name="subscribers/3")
    name = found.subscriber.identifiers[0]
    same("found by identifier", server.call("Subscribers", "GetSubscriber", name=f"subscribers/{name}").etag, found.etag)
    records = server.call("AuditLog", "ListAuditRecords", target="accounts/3").records
    same("noted once", [(it.method, it.idempotency_key, it.reason) for it in records], [("Accounts/TopUp", "py-1", "python")])
    verdict = server.call("AuditLog", "VerifyAuditLog")
    same("the log", (verdict.broken_position, len(verdict.chain_hash)), (0, 32))
    print("all promises held")


main(sys.argv[1])
